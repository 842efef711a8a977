//! labctl's chaos engine: breaks a lab on purpose, watches it, and reports what it saw.
//!
//! [`run`] takes a validated [`Scenario`](labctl_spec::scenario::Scenario) and acts on the lab through [`Target`] alone. Everything that
//! needs undoing is written to a [`Journal`] first; [`heal`] undoes it, whichever process has died in the meantime. The [`Report`] is plain
//! data; [`render`] turns it into readable text.
//!
//! The same seed gives the same choices on any platform and in any later version.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod event;
#[cfg(test)]
mod fake;
mod fault;
mod ids;
mod impaired;
mod lease;
mod observe;
mod options;
mod page;
mod pick;
mod probe;
mod render;
mod report;
mod run;
mod target;
mod undo;
mod verdict;

pub use event::{Event, What};
pub use fault::FaultReport;
pub use fault::kill::{Fate, KillDetails, Skew, TargetReport};
pub use fault::network::NetworkDetails;
pub use impaired::ImpairedEdges;
pub use lease::{Healing, Journal, Lease, Owner, heal};
pub use observe::{ProbeReport, Window};
pub use options::Options;
pub use pick::{choose, resolve};
pub use probe::{Answer, ask};
pub use render::render;
pub use report::{Before, REPORT_VERSION, Recovery, Report};
pub use run::run;
pub use target::{BoxFuture, ExecAnswer, FaultError, FaultTarget, HttpAnswer, Mishap, ProbeTarget, Target};
pub use undo::{Undo, UnitsOn};
pub use verdict::Verdict;
