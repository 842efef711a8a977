//! A signal to the main processes of units.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Pick;
use super::validate::{Known, StepCheck};
use crate::report::Report;

/// Which units are killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillStep {
    /// systemd units, such as `consul.service`.
    #[schemars(length(min = 1))]
    pub units: Vec<String>,
    /// Groups or nodes whose units get the signal.
    #[schemars(length(min = 1))]
    pub on: Vec<String>,
    /// How many of them; default: `all`.
    #[serde(default)]
    pub pick: Pick,
    /// Signal; default: SIGKILL.
    #[serde(default)]
    pub signal: Signal,
}

/// A signal that a fault may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Terminates at once.
    #[default]
    Sigkill,
    /// Asks for termination.
    Sigterm,
    /// Stops the process.
    Sigstop,
    /// Continues the process.
    Sigcont,
}

impl Signal {
    /// Its number on Linux (signal(7)), which is what guests run.
    pub fn number(self) -> i32 {
        match self {
            Self::Sigkill => 9,
            Self::Sigterm => 15,
            Self::Sigstop => 19,
            Self::Sigcont => 18,
        }
    }
}

/// Suffixes of systemd units that have processes (systemd.unit(5)).
const UNITS: [&str; 2] = [".service", ".scope"];

impl StepCheck for KillStep {
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report) {
        let mut seen = BTreeSet::new();
        for (position, unit) in self.units.iter().enumerate() {
            let at = format!("{at}/units/{position}");
            let plain = unit.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ':' | '\\'));
            if !UNITS.iter().any(|suffix| unit.ends_with(suffix)) || !plain {
                let hint = format!("write its full name, such as `{}.service`", unit.split('.').next().unwrap_or("consul"));
                report.add(&at, format!("`{unit}` is not a systemd unit with processes"), hint);
            } else if !seen.insert(unit) {
                report.add(&at, format!("`{unit}` is listed twice"), "remove one");
            }
        }
        if let Some(known) = known {
            known.check_names(&self.on, &[], &format!("{at}/on"), report);
        }
    }
}
