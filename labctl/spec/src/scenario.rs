//! The scenario file (`scenarios/NAME.yml`): what is broken, and what must hold before, during and after.

mod kill;
mod network;
mod validate;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::lab::Lab;
use crate::load::{self, LoadError};
use crate::mistake::Mistakes;

pub use kill::{KillStep, Signal};
pub use network::{Between, CutStep, DelayStep, LossStep};

/// A scenario file as written (plain data; see [`Scenario`] for the validated form).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// Name: letters, digits, hyphens, underscores.
    pub name: String,
    /// What it shows, in one sentence.
    pub description: Option<String>,
    /// Probes that must hold before the method starts and again after it.
    #[schemars(length(min = 1))]
    pub steady_state: Vec<ProbeFile>,
    /// Steps in order.
    #[schemars(length(min = 1))]
    pub method: Vec<Step>,
    /// Maximum time from the end of the last fault to the steady state.
    pub recover_within: Duration,
}

/// One observation of the lab as written: a name and exactly one check.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeFile {
    /// Name in the timeline and the report.
    pub name: String,
    /// An HTTP request over the lab's network, from the switch.
    pub http: Option<HttpCheck>,
    /// A command in a node.
    pub exec: Option<ExecCheck>,
    /// A TCP connection over the lab's network.
    pub tcp: Option<TcpCheck>,
    /// Consul has a leader and every registered check passes.
    pub consul: Option<ConsulCheck>,
    /// Nomad has a leader, its clients are ready, its jobs run as requested.
    pub nomad: Option<NomadCheck>,
}

/// A validated scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Name.
    pub name: String,
    /// What it shows, in one sentence.
    pub description: Option<String>,
    /// Probes that must hold before the method starts and again after it; at least one.
    pub steady_state: Vec<Probe>,
    /// Steps in order; at least one.
    pub method: Vec<Step>,
    /// Maximum time from the end of the last fault to the steady state; greater than zero.
    pub recover_within: Duration,
}

/// Loads a scenario file; with a lab, checks that the nodes and groups that it names exist in the lab.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read, else every fault in it.
pub fn load_scenario(path: &Path, lab: Option<&Lab>) -> Result<Scenario, LoadError> {
    Ok(parse_scenario(&load::read(path)?, path, lab)?)
}

/// Parses the text of a scenario file; see [`load_scenario`].
///
/// # Errors
/// Every fault, in line order.
pub fn parse_scenario(text: &str, file: &Path, lab: Option<&Lab>) -> Result<Scenario, Mistakes> {
    let (plain, mut report) = load::plain::<ScenarioFile>(text, file)?;
    let scenario = plain.map(|plain| validate::scenario(plain, lab, &mut report));
    report.finish(scenario)
}

/// One observation of the lab. A probe holds if the answer is the expected one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Name in the timeline and the report, unique in the scenario.
    pub name: String,
    /// What is checked.
    pub check: Check,
}

/// What a probe checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An HTTP request over the lab's network, from the switch.
    Http(HttpCheck),
    /// A command in a node.
    Exec(ExecCheck),
    /// A TCP connection over the lab's network.
    Tcp(TcpCheck),
    /// Consul has a leader and every registered check passes.
    Consul(ConsulCheck),
    /// Nomad has a leader, its clients are ready, its jobs run as requested.
    Nomad(NomadCheck),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// Node that the request is sent to.
    pub node: String,
    /// TCP port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Path and query; default: `/`.
    pub path: Option<String>,
    /// Expected status; default: any from 200 to 299.
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// Text that the body must contain.
    pub contains: Option<String>,
}

/// A command in a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    /// Node it runs in.
    pub node: String,
    /// Program and arguments, or one shell line.
    pub command: Command,
    /// Text that its output must contain; default: only the exit code must be 0.
    pub contains: Option<String>,
}

/// A command: a shell line, or program and arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// Node to connect to.
    pub node: String,
    /// TCP port.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// Consul's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulCheck {
    /// Node whose agent is queried (port 8500).
    pub node: String,
    /// How many members must be alive; not checked by default.
    pub members: Option<u32>,
    /// Services that must be registered with at least this many passing instances.
    #[serde(default)]
    pub services: std::collections::BTreeMap<String, u32>,
}

/// Nomad's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NomadCheck {
    /// Node whose agent is queried (port 4646).
    pub node: String,
    /// How many clients must be ready; not checked by default.
    pub clients: Option<u32>,
    /// Jobs that must run with at least this many healthy instances.
    #[serde(default)]
    pub jobs: std::collections::BTreeMap<String, u32>,
}

/// One step of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// SIGKILL (or another signal) to the main process of systemd units, at the same moment on all nodes.
    Kill(KillStep),
    /// Nothing passes between nodes of the network.
    Cut(CutStep),
    /// What passes between nodes arrives later.
    Delay(DelayStep),
    /// Some of what passes between nodes is lost.
    Loss(LossStep),
    /// Does nothing for a while.
    Wait(Duration),
}

/// How many of the nodes are hit, in Jepsen's words; the seed decides which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// A single one.
    One,
    /// The largest number that is less than half.
    Minority,
    /// The smallest number that is more than half.
    Majority,
    /// Every one.
    #[default]
    All,
}
