//! `setup`, `package_facts` and `service_facts`.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{int, list, path, text};
use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};
use crate::modules::packages::dpkg;
use crate::modules::text::glob_matches;
use crate::systemd::{CallError, Systemd, UnitSummary};

pub(crate) const MODULE: Module = Module {
    names: &["setup", "gather_facts"],
    params: &[
        list("gather_subset").or("all"),
        int("gather_timeout").or("10"),
        list("filter"),
        path("fact_path").or("/etc/ansible/facts.d"),
    ],
    files: false,
    run: setup,
};

pub(crate) const PACKAGES: Module = Module {
    names: &["package_facts"],
    params: &[list("manager").or("auto"), text("strategy").of(&["first", "all"]).or("first")],
    files: false,
    run: packages,
};

pub(crate) const SERVICES: Module = Module { names: &["service_facts"], params: &[], files: false, run: services };

fn setup(task: &Task<'_>) -> Outcome {
    let filters = task.args.list("filter");
    let facts: Map<String, Value> = crate::facts::gather_in(task.root)
        .into_iter()
        .map(|(key, value)| (format!("ansible_{key}"), value))
        .filter(|(key, _)| {
            let bare = key.trim_start_matches("ansible_");
            filters.is_empty() || filters.iter().any(|f| f.is_empty() || glob_matches(f, key) || glob_matches(f, bare))
        })
        .collect();
    Ok(json!({"changed": false, "ansible_facts": facts}).into())
}

fn packages(task: &Task<'_>) -> Outcome {
    let mut all: Map<String, Value> = Map::new();
    for package in dpkg::database(task.root).packages.iter().filter(|package| package.installed()) {
        let entry = json!({
            "name": package.name, "version": package.version, "arch": package.architecture,
            "category": package.section, "origin": "Debian", "source": "apt",
        });
        if let Value::Array(list) = all.entry(package.name.clone()).or_insert(json!([])) {
            list.push(entry);
        }
    }
    Ok(json!({"changed": false, "ansible_facts": {"packages": all}}).into())
}

fn services(task: &Task<'_>) -> Outcome {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn facts_carry_the_prefix_and_obey_filters() {
        let bench = Bench::new();
        let facts = &bench.run("setup", json!({"filter": "ansible_host*"}))["ansible_facts"];
        assert!(facts["ansible_hostname"].is_string() && facts.get("ansible_kernel").is_none());
    }

    #[test]
    fn installed_packages_are_listed() {
        let bench = Bench::new();
        bench.write("var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n");
        let facts = &bench.run("package_facts", json!({}))["ansible_facts"];
        assert_eq!(facts["packages"]["a"][0]["version"], "1");
    }
}
