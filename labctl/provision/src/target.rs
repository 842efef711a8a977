//! What the engine needs from a machine and from the artifact store; the caller implements both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value};

/// Why a call to a machine failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be reached: the host counts as unreachable.
    #[error("{0}")]
    Unreachable(String),
    /// It was reached but rejected the call: the task failed.
    #[error("{0}")]
    Failed(String),
}

/// How to reach the machine of a task, according to variables and keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The host's name in the inventory, or the value of `delegate_to`.
    pub host: String,
    /// The task runs on the controller itself: `connection: local`, or `localhost` without any connection setting.
    pub local: bool,
    /// `ansible_host`.
    pub address: Option<String>,
    /// `ansible_port`.
    pub port: Option<u16>,
    /// `ansible_user` or `remote_user`: the user to log in as.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`.
    pub key: Option<PathBuf>,
    /// The work must be done as root, or as a user that only root can become: `become`. A machine whose agent is root anyway can ignore
    /// this.
    pub root: bool,
}

/// What to send to a machine.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes in memory.
    Bytes(std::sync::Arc<Vec<u8>>),
    /// A file on the controller.
    File(PathBuf),
}

/// One machine that tasks run on. Calls may run concurrently.
pub trait Target: Send + Sync {
    /// Runs a task module. A failed module is not an error here: its result reports the failure.
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>>;

    /// Sends content with this SHA-256 (hex) to an absolute path, atomically.
    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>>;

    /// The state folder of the machine's agent; content is sent to paths below it.
    fn state(&self) -> String {
        labctl_wire::STATE.to_owned()
    }

    /// The content of a file.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>>;

    /// Ansible's facts, without the prefix `ansible_`.
    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>>;

    /// Reboots and waits until the machine answers again, at most for `timeout`.
    fn reboot(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Waits until the machine answers, at most for `timeout`.
    fn await_ready(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>>;
}

/// A program that a role installs, found and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file on the controller.
    pub path: PathBuf,
    /// SHA-256 of it in hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub version: String,
}

/// Where the programs of roles come from.
pub trait Artifacts: Send + Sync {
    /// The artifact with that name declared in `ROLE/artifacts.yml`; in another version than the declared one if `version` is given.
    ///
    /// # Errors
    /// A message for the user: it is not declared, or no source has it.
    fn resolve<'a>(&'a self, role: &'a Path, name: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Artifact, String>>;
}
