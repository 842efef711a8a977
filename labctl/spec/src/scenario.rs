//! The scenario file (`scenarios/NAME.yml`): what is broken, and what must hold before, meanwhile and afterwards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A scenario file as written; its types serve the chaos engine as they are once validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: Option<String>,
    /// Probes that must hold before the method starts and again after it.
    pub steady_state: Vec<Probe>,
    /// Steps in order.
    pub method: Vec<Step>,
    /// Longest time from the last fault's end to the steady state.
    pub recover_within: Duration,
}

/// A duration as written: `30s`, `2m`, `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl std::str::FromStr for Duration {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("`{text}` is not a duration: write a number with ms, s, m or h, such as `30s`")
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let seconds = match unit.trim() {
            "ms" => number / 1e3,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(bad()),
        };
        std::time::Duration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| bad())
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration: 500ms, 30s, 2m.",
            "pattern": r"^[0-9.]+ ?(ms|s|m|h)$"
        })
    }
}

/// One observation of the lab. A probe holds when it answers as expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name in the timeline and the report.
    pub name: String,
    /// What is asked.
    #[serde(flatten)]
    pub check: Check,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Nomad has a leader, its clients are ready, its jobs run as asked.
    Nomad(NomadCheck),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// Node that is asked.
    pub node: String,
    /// TCP port.
    pub port: u16,
    /// Path and query; `/` unless given.
    pub path: Option<String>,
    /// Expected status; any of 200 to 299 unless given.
    pub status: Option<u16>,
    /// Text that the body must hold.
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
    /// Text that its output must hold; only exit code 0 counts unless given.
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
    /// Node that is asked.
    pub node: String,
    /// TCP port.
    pub port: u16,
}

/// Consul's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulCheck {
    /// Node whose agent is asked (port 8500).
    pub node: String,
    /// How many members must be alive; not asked unless given.
    pub members: Option<u32>,
    /// Services that must be registered with at least so many passing instances.
    #[serde(default)]
    pub services: std::collections::BTreeMap<String, u32>,
}

/// Nomad's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NomadCheck {
    /// Node whose agent is asked (port 4646).
    pub node: String,
    /// How many clients must be ready; not asked unless given.
    pub clients: Option<u32>,
    /// Jobs that must run with at least so many healthy instances.
    #[serde(default)]
    pub jobs: std::collections::BTreeMap<String, u32>,
}

/// One step of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// SIGKILL (or another signal) to the main process of systemd units, at the same moment on all nodes.
    Kill(KillStep),
    /// Nothing, for a while.
    Wait(Duration),
}

/// Which units are killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillStep {
    /// systemd units, such as `consul.service`.
    pub units: Vec<String>,
    /// Groups or nodes whose units are meant.
    pub on: Vec<String>,
    /// How many of them: `all` unless given.
    #[serde(default)]
    pub pick: Pick,
    /// Signal; SIGKILL unless given.
    #[serde(default)]
    pub signal: Signal,
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

/// A signal that a fault may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Ends at once.
    #[default]
    Sigkill,
    /// Asks to end.
    Sigterm,
    /// Stops the process.
    Sigstop,
    /// Continues the process.
    Sigcont,
}
