//! What the engine needs of a machine and of the artifact store; the caller implements both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value};

/// Why a machine did not answer as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be reached: the host counts as unreachable.
    #[error("{0}")]
    Unreachable(String),
    /// It was reached and refused: the task failed.
    #[error("{0}")]
    Failed(String),
}

/// How the machine of a task is to be reached, as variables and keywords say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The host's name in the inventory, or what `delegate_to` names.
    pub host: String,
    /// The controller itself does the work: `connection: local`, or `localhost` without a word about connections.
    pub local: bool,
    /// `ansible_host`.
    pub address: Option<String>,
    /// `ansible_port`.
    pub port: Option<u16>,
    /// `ansible_user` or `remote_user`: who logs in.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`.
    pub key: Option<PathBuf>,
    /// The work must be done as root, or as a user that only root can become: `become`. A machine whose agent is root
    /// anyway need not care.
    pub root: bool,
}

/// What to send to a machine.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes in memory.
    Bytes(std::sync::Arc<Vec<u8>>),
    /// A file of the controller.
    File(PathBuf),
}

/// One machine that tasks run on. Calls may run side by side.
pub trait Target: Send + Sync {
    /// Runs a task module. A module that failed is not an error here: its result says so.
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>>;

    /// Sends content with this SHA-256 (hex) to an absolute path, whole or not at all.
    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>>;

    /// The state folder of the machine's agent, below which content is sent.
    fn state(&self) -> String {
        labctl_wire::STATE.to_owned()
    }

    /// The content of a file.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>>;

    /// Ansible's facts, without the prefix `ansible_`.
    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>>;

    /// Reboots and waits until the machine answers again, at most that long.
    fn reboot(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Waits until the machine answers, at most that long.
    fn await_ready(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>>;
}

/// A program that a role delivers, found and checked.
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
    /// The artifact of that name declared in `ROLE/artifacts.yml`.
    ///
    /// # Errors
    /// A message for people: not declared, or no source had it.
    fn resolve<'a>(&'a self, role: &'a Path, name: &'a str) -> BoxFuture<'a, Result<Artifact, String>>;
}
