//! Calls of task modules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The agent's folder on a node: files sent to it, and files that it unpacked.
pub const STATE: &str = "/var/lib/labctl";

/// Name of the environment variable that gives an agent a state folder other than [`STATE`]: for an agent that was pushed to a foreign
/// machine, or that runs on the controller for a user other than root.
pub const STATE_VARIABLE: &str = "LABCTL_AGENT_STATE";

/// Name of the environment variable that lets programs started by the agent inherit its environment, as on the controller.
pub const INHERIT_VARIABLE: &str = "LABCTL_AGENT_INHERIT";

/// A task module to run. Names, arguments and results are Ansible's, with these additions: modules that take a file from the controller
/// (`copy`, `template`, `unarchive`, `script` ...) get either the argument `content` (text), or its `_sha256` and `_size`. In the second
/// case they answer with [`ModuleReply::needs_content`] unless nothing has to be written; the controller then sends the file with
/// [`Put`](crate::Put) to [`spool_path`](ModuleCall::spool_path) and calls again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleCall {
    /// Short name, such as `copy`.
    pub module: String,
    /// Arguments, templated; `omit`ted ones are absent.
    pub args: Map<String, Value>,
    /// Only report what would change.
    pub check: bool,
    /// Return a `diff`.
    pub diff: bool,
    /// User to become; default: root.
    pub become_user: Option<String>,
    /// Environment of the task.
    pub environment: BTreeMap<String, String>,
    /// Time out after this many milliseconds.
    pub timeout_ms: Option<u64>,
}

impl ModuleCall {
    /// Where the agent keeps the content with this SHA-256 (hex) for the module that asked for it.
    pub fn spool_path(sha256: &str) -> String {
        Self::spool_path_in(&Self::state_folder(), sha256)
    }

    /// [`spool_path`](Self::spool_path) of an agent that was started with a different state folder.
    pub fn spool_path_in(state: &str, sha256: &str) -> String {
        format!("{state}/spool/{sha256}")
    }

    /// The agent's state folder: [`STATE`], or the value of [`STATE_VARIABLE`] in the environment of this process.
    pub fn state_folder() -> String {
        std::env::var(STATE_VARIABLE).ok().filter(|folder| folder.starts_with('/')).unwrap_or_else(|| STATE.to_owned())
    }
}

/// A module's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleReply {
    /// Ansible's result: `changed`, `failed`, `msg`, `diff`, `rc`, `stdout` and whatever else the module returns.
    pub result: Map<String, Value>,
    /// The content announced by `_sha256` is needed at [`ModuleCall::spool_path`]; nothing was changed.
    pub needs_content: bool,
}
