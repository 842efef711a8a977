//! labctl's chaos engine: breaks a lab on purpose, watches it meanwhile, and reports what it observed.
//!
//! [`run`] takes a validated [`Scenario`](labctl_spec::scenario::Scenario) and acts on the lab only through
//! [`FaultTarget`]. Anything that needs undoing is written to a [`Journal`] first; [`heal`] undoes it, whatever has
//! died meanwhile. The [`Report`] is plain data; [`render`] turns it into text.
//!
//! The same seed gives the same choices, on every platform and in every later version.

mod event;
#[cfg(test)]
mod fake;
mod fault;
mod lease;
mod observe;
mod options;
mod pick;
mod probe;
mod render;
mod report;
mod run;
mod target;

pub use event::{Event, What};
pub use fault::{Fate, HeldReport, KillReport, Skew, TargetReport};
pub use lease::{Healing, Journal, Lease, Undo, UnitsOn, heal};
pub use observe::{ProbeReport, Window};
pub use options::Options;
pub use pick::{choose, resolve};
pub use probe::{Answer, ask};
pub use render::render;
pub use report::{Before, REPORT_VERSION, Recovery, Report, Verdict};
pub use run::run;
pub use target::{Armed, BoxFuture, Death, ExecAnswer, FaultError, FaultTarget, Held, HttpAnswer, Mishap, UnitState};
