//! The engine's interface to a lab: [`FaultTarget`], implemented where agents and the switch are accessible.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use labctl_spec::scenario::Signal;
use serde::{Deserialize, Serialize};

/// A future that allows a trait to be used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the lab could not do or answer something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct FaultError {
    /// For display; names the node and the value concerned.
    pub message: String,
    /// What the user can do next, if known.
    pub hint: Option<String>,
}

impl FaultError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// State of a systemd unit, as reported by `org.freedesktop.systemd1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Unit name.
    pub unit: String,
    /// `ActiveState`: active, inactive, failed, activating ...
    pub active: String,
    /// `SubState`: running, dead, auto-restart ...
    pub sub: String,
    /// `MainPID`; 0 if there is none.
    pub main_pid: i32,
    /// `NRestarts`.
    pub restarts: u32,
}

/// A process held for a shot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// Its unit.
    pub unit: String,
    /// Its pid; 0 if the unit had no main process, in which case nothing is held.
    pub pid: i32,
}

/// What happened to a process that was signalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its unit.
    pub unit: String,
    /// Its pid.
    pub pid: i32,
    /// When the signal was sent, in nanoseconds of the guest's CLOCK_REALTIME. Clocks of different guests are not
    /// comparable.
    pub sent_ns: u64,
    /// When its death was detected, likewise; none if it is alive, or if the agent did not wait because the signal was
    /// not SIGKILL.
    pub dead_ns: Option<u64>,
    /// Why nothing was sent.
    pub error: Option<String>,
}

/// What the switch held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Frames held and then delivered.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were dropped for lack of room.
    pub dropped: u64,
    /// From the first frame that could have been held to the release.
    pub duration: Duration,
}

/// An HTTP response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Body; the target may cut it off at 4 MiB.
    pub body: Vec<u8>,
}

/// The result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecAnswer {
    /// Exit code; 128 + signal number if a signal killed it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Something that happened to a node and that no fault is meant to cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mishap {
    /// The node.
    pub node: String,
    /// What happened, for display, such as a kernel's last messages.
    pub what: String,
}

/// A lab that can be broken and queried.
///
/// Contract for all methods: `node` is a node's name. An unreachable node is an error, never an empty answer. Dropping
/// a future stops waiting; the request itself may still run to completion. Methods may run concurrently.
pub trait FaultTarget: Send + Sync {
    /// States of the units, in the order asked for. A unit that does not exist is `inactive`, `not-found`, with main pid 0.
    fn units<'a>(&'a self, node: &'a str, units: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>>;

    /// Holds each unit's main process (a pidfd) until `fire` with the same `shot`. Changes nothing in the node.
    fn arm<'a>(&'a self, node: &'a str, shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<Armed>, FaultError>>;

    /// Sends `signal` to every process held for `shot` and releases them. With SIGKILL it waits for each death.
    fn fire<'a>(&'a self, node: &'a str, shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>>;

    /// Makes the switch hold every frame between nodes until [`release_network`](Self::release_network) or until
    /// `limit` is over, whichever comes first. The switch enforces the limit itself, so that a dead controller never
    /// leaves the network silent. Control channels to the agents do not go through the switch.
    fn hold_network(&self, limit: Duration) -> BoxFuture<'_, Result<(), FaultError>>;

    /// Delivers the held frames in order and ends the hold. All zero if nothing was held, so it is safe to repeat.
    fn release_network(&self) -> BoxFuture<'_, Result<Held, FaultError>>;

    /// Sends `GET path` to the node's `port` over the lab's network, from the switch. No response within `timeout` is an error.
    fn http<'a>(&'a self, node: &'a str, port: u16, path: &'a str, timeout: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>>;

    /// Opens and closes a TCP connection to the node's `port` over the lab's network, from the switch.
    fn tcp<'a>(&'a self, node: &'a str, port: u16, timeout: Duration) -> BoxFuture<'a, Result<(), FaultError>>;

    /// Runs a program in the node (through the agent, so without the lab's network).
    fn exec<'a>(&'a self, node: &'a str, argv: &'a [String], timeout: Duration) -> BoxFuture<'a, Result<ExecAnswer, FaultError>>;

    /// Waits for the next mishap of any node: a kernel panic. Each is returned once, and none from before the first
    /// call.
    fn mishap(&self) -> BoxFuture<'_, Mishap>;
}
