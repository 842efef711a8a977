//! Jobs of Nomad, over its HTTP interface: no process of Nomad's own, which costs an emulated guest seconds each.

mod api;
mod clients;
pub(crate) mod deploy;
pub(crate) mod job;
mod jobspec;
mod judge;
mod look;
mod patience;
mod words;

#[cfg(test)]
mod deploy_tests;
#[cfg(test)]
mod fake;
