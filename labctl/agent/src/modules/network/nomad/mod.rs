//! Nomad jobs, over its HTTP interface: without Nomad's own program, which costs an emulated guest seconds per run.

mod api;
mod clients;
pub(crate) mod deploy;
pub(crate) mod job;
mod jobspec;
mod judge;
mod look;
mod patience;
mod proven;
mod words;

#[cfg(test)]
mod deploy_tests;
#[cfg(test)]
mod fake;
