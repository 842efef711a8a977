//! Calls of task modules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Folder of the agent on a node: what it was sent, what it has unpacked.
pub const STATE: &str = "/var/lib/labctl";

/// Name of the environment variable that gives an agent another state folder than [`STATE`]: one that was pushed to a foreign
/// machine, or that acts on the controller for a user other than root.
pub const STATE_VARIABLE: &str = "LABCTL_AGENT_STATE";

/// Name of the environment variable that lets programs which the agent starts inherit its environment, as they do on the
/// controller.
pub const INHERIT_VARIABLE: &str = "LABCTL_AGENT_INHERIT";

/// A task module to run. Names, arguments and results are Ansible's, with these additions:
/// modules that take a file of the controller's (`copy`, `template`, `unarchive`, `script` ...) get either the argument
/// `content` (text), or `_sha256` and `_size` of it; in the second case they answer with
/// [`ModuleReply::needs_content`] unless nothing has to be written, the controller sends the file with
/// [`Put`](crate::Put) to [`spool_path`](ModuleCall::spool_path) and calls again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleCall {
    /// Short name, such as `copy`.
    pub module: String,
    /// Arguments, templated; `omit`ted ones are absent.
    pub args: Map<String, Value>,
    /// Only say what would change.
    pub check: bool,
    /// Return a `diff`.
    pub diff: bool,
    /// User to become; root unless given.
    pub become_user: Option<String>,
    /// Environment of the task.
    pub environment: BTreeMap<String, String>,
    /// Give up after so many milliseconds.
    pub timeout_ms: Option<u64>,
}

impl ModuleCall {
    /// Where the content with this SHA-256 (hex) waits for the module that asked for it, on the agent's side.
    pub fn spool_path(sha256: &str) -> String {
        Self::spool_path_in(&Self::state_folder(), sha256)
    }

    /// [`spool_path`](Self::spool_path) of an agent that was started with another state folder.
    pub fn spool_path_in(state: &str, sha256: &str) -> String {
        format!("{state}/spool/{sha256}")
    }

    /// The agent's state folder: [`STATE`], or what [`STATE_VARIABLE`] says in the environment of this process.
    pub fn state_folder() -> String {
        std::env::var(STATE_VARIABLE).ok().filter(|folder| folder.starts_with('/')).unwrap_or_else(|| STATE.to_owned())
    }
}

/// What a module said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleReply {
    /// Ansible's result: `changed`, `failed`, `msg`, `diff`, `rc`, `stdout` and whatever the module returns besides.
    pub result: Map<String, Value>,
    /// The content announced by `_sha256` is needed at [`ModuleCall::spool_path`]; nothing was changed.
    pub needs_content: bool,
}
