//! What the engine needs from a lab. Implemented where the agents and the switch are accessible.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use labctl_spec::network::{EdgeCounters, HeldFrames};
use labctl_spec::scenario::Signal;
use labctl_wire::{ArmedProcess, Death, UnitState};
use serde::{Deserialize, Serialize};

use crate::impaired::ImpairedEdges;

/// The future of a method of a dyn-compatible trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the lab could not do or answer something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct FaultError {
    /// For display; names the node and the value in question.
    pub message: String,
    /// The next step, if one is known.
    pub hint: Option<String>,
}

impl FaultError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same with the next step for the reader.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Body; the target may cut it off at 16 MiB.
    pub body: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecAnswer {
    /// Exit code; 128 + signal number if it was killed by a signal.
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

/// What faults act on, and what undoing them acts on.
///
/// Contract for all methods of these traits: `node` is a node's name. An unreachable node is an error, never an empty answer. Dropping a
/// future stops the wait but may leave the request itself running to completion. Methods may run concurrently.
pub trait FaultTarget: Send + Sync {
    /// Holds each unit's main process (a pidfd) until `fire` with the same `shot`. Changes nothing in the node.
    fn arm<'a>(&'a self, node: &'a str, shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<ArmedProcess>, FaultError>>;

    /// Sends `signal` to every process held for `shot` and stops holding them. With SIGKILL it waits for each death.
    fn fire<'a>(&'a self, node: &'a str, shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>>;

    /// Makes the switch hold every frame between nodes, until [`release_network`](Self::release_network) or until `limit` has passed,
    /// whichever comes first. The switch enforces the limit itself, so that a dead controller never leaves the network silent. Control
    /// channels to the agents bypass the switch.
    fn hold_network(&self, limit: Duration) -> BoxFuture<'_, Result<(), FaultError>>;

    /// Delivers the held frames in order and ends the hold. All zero if nothing was held. Safe to repeat.
    fn release_network(&self) -> BoxFuture<'_, Result<HeldFrames, FaultError>>;

    /// Impairs directed edges until [`mend`](Self::mend) with the same id. Several impairments of one edge add up. Repeating the same one
    /// changes nothing.
    fn impair<'a>(&'a self, edges: &'a ImpairedEdges) -> BoxFuture<'a, Result<(), FaultError>>;

    /// Ends the impairment with that id; does nothing if there is none.
    fn mend<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), FaultError>>;
}

/// What probes query, and the code that checks a fault's effect.
pub trait ProbeTarget: Send + Sync {
    /// States of the units, in the order asked for. A unit that does not exist is `inactive`, `not-found`, with main pid 0.
    fn units<'a>(&'a self, node: &'a str, units: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>>;

    /// `GET path` of the node's `port` over the lab's network, from the switch. No answer within `timeout` is an error.
    fn http<'a>(&'a self, node: &'a str, port: u16, path: &'a str, timeout: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>>;

    /// Opens and closes a TCP connection to the node's `port` over the lab's network, from the switch.
    fn tcp<'a>(&'a self, node: &'a str, port: u16, timeout: Duration) -> BoxFuture<'a, Result<(), FaultError>>;

    /// Runs a program on the node (through the agent, so not over the lab's network).
    fn exec<'a>(&'a self, node: &'a str, argv: &'a [String], timeout: Duration) -> BoxFuture<'a, Result<ExecAnswer, FaultError>>;

    /// Totals of what has happened to frames on the edges of the impairment with that id since it started.
    fn impaired<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<EdgeCounters, FaultError>>;

    /// Waits for the next mishap on any node: a kernel panic. Each is returned once; those from before the first call are not.
    fn mishap(&self) -> BoxFuture<'_, Mishap>;
}

/// A lab that can be broken and queried.
pub trait Target: FaultTarget + ProbeTarget {}

impl<T: FaultTarget + ProbeTarget> Target for T {}
