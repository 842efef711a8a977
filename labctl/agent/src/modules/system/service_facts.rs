//! `service_facts`: services and their states.

use serde_json::{Map, json};

use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};
use crate::systemd::{CallError, Systemd, UnitSummary};

pub(crate) const MODULE: Module = Module { names: &["service_facts"], params: &[], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    let mut systemd = Systemd::connect(task.root.folder(), None, task.call.timeout_ms).map_err(|err| err.to_string())?;
    let fault = |err: CallError| crate::modules::call::outcome::Fault::from(format!("systemd did not list its units: {err}"));
    let mut all = Map::new();
    for UnitSummary { name, load, active, sub, .. } in systemd.units().map_err(fault)? {
        if !name.ends_with(".service") {
            continue;
        }
        let state = match (sub.as_str(), active.as_str(), load.as_str()) {
            ("running", ..) => "running",
            _ => "stopped",
        };
        let status = if load == "not-found" {
            "not-found"
        } else if active == "failed" {
            "failed"
        } else {
            "unknown"
        };
        all.insert(name.clone(), json!({"name": name, "state": state, "status": status, "source": "systemd"}));
    }
    for (path, state) in systemd.unit_files().map_err(fault)? {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if !name.ends_with(".service") {
            continue;
        }
        let entry = all.entry(name.clone()).or_insert_with(|| {
            let state = if name.contains("@.") { "unknown" } else { "inactive" };
            json!({"name": name, "state": state, "source": "systemd"})
        });
        if entry["status"] != "failed" {
            entry["status"] = state.into();
        }
    }
    Ok(json!({"changed": false, "ansible_facts": {"services": all}}).into())
}
