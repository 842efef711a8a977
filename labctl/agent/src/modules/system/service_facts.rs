//! `service_facts`: services and their states, in one call of systemd and a look at its folders.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::systemd::{Systemd, UnitFiles, UnitSummary};

pub(crate) const MODULE: Module = Module { names: &["service_facts"], params: &[], files: false, run };

/// Words that win over what the unit file's state is, as Ansible looks for them in the columns of `systemctl list-units`.
const BAD: [&str; 3] = ["not-found", "masked", "failed"];

fn status(unit: &UnitSummary) -> &str {
    let columns = [&unit.load, &unit.active, &unit.sub];
    BAD.into_iter().find(|bad| columns.iter().any(|column| column == bad)).unwrap_or(&unit.active)
}

fn run(task: &Task<'_>) -> Outcome {
    let root = task.root.folder();
    let mut systemd = Systemd::connect(root, None, task.call.timeout_ms).map_err(|err| err.to_string())?;
    let units = systemd.units_like("*.service").map_err(|err| Fault::from(format!("systemd did not list its units: {err}")))?;
    let mut services = Map::new();
    for unit in &units {
        let state = if unit.sub == "running" { "running" } else { "stopped" };
        services.insert(unit.name.clone(), entry(&unit.name, state, status(unit)));
    }
    let active: HashMap<&str, &str> = units.iter().map(|unit| (unit.name.as_str(), unit.active.as_str())).collect();
    let files = UnitFiles::read(root);
    for name in files.names(".service") {
        let Some(file) = files.state(name) else { continue };
        match services.get_mut(name) {
            Some(known) if known["status"].as_str().is_some_and(|status| BAD.contains(&status)) => {}
            Some(known) => known["status"] = file.state.into(),
            None => {
                // What `systemctl show` says of a unit that is not loaded; it knows nothing of templates.
                let real = file.alias_of.as_deref().unwrap_or(name);
                let state = if name.contains("@.") { "unknown" } else { active.get(real).copied().unwrap_or("inactive") };
                services.insert(name.to_owned(), entry(name, state, file.state));
            }
        }
    }
    Ok(json!({"changed": false, "ansible_facts": {"services": services}}).into())
}

fn entry(name: &str, state: &str, status: &str) -> Value {
    json!({"name": name, "state": state, "status": status, "source": "systemd"})
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use crate::modules::call::testing::Bench;
    use crate::systemd::test_peer::{Answer, Arg, play, text};

    fn unit(name: &str, load: &str, active: &str, sub: &str) -> Arg {
        let texts = [name, "", load, active, sub, "", "/"].map(text);
        Arg::List(texts.into_iter().chain([Arg::Unsigned(0), text(""), text("/")]).collect())
    }

    #[test]
    fn what_runs_and_what_could() {
        let bench = Bench::new();
        play(&bench.path(""), |call| {
            assert_eq!(call.member, "ListUnitsByPatterns");
            let units = vec![
                unit("ssh.service", "loaded", "active", "running"),
                unit("once.service", "loaded", "active", "exited"),
                unit("gone.service", "not-found", "inactive", "dead"),
                unit("bad.service", "loaded", "failed", "failed"),
            ];
            vec![Answer::Reply("a(ssssssouso)", vec![Arg::List(units)])]
        });
        let lib = "usr/lib/systemd/system";
        for name in ["ssh", "once", "bad", "idle", "template@"] {
            bench.write(&format!("{lib}/{name}.service"), "[Install]\nWantedBy=multi-user.target\n");
        }
        std::fs::create_dir_all(bench.path("etc/systemd/system/multi-user.target.wants")).unwrap();
        symlink("/usr/lib/systemd/system/ssh.service", bench.path("etc/systemd/system/multi-user.target.wants/ssh.service")).unwrap();
        symlink("ssh.service", bench.path("usr/lib/systemd/system/sshd.service")).unwrap();
        let facts = bench.run("service_facts", json!({}))["ansible_facts"]["services"].clone();
        let expected = [
            ("ssh", "running", "enabled"),
            ("once", "stopped", "disabled"),
            ("gone", "stopped", "not-found"),
            ("bad", "stopped", "failed"),
            ("idle", "inactive", "disabled"),
            ("template@", "unknown", "disabled"),
            ("sshd", "active", "alias"),
        ];
        for (name, state, status) in expected {
            let name = format!("{name}.service");
            assert_eq!(facts[&name], json!({"name": name, "state": state, "status": status, "source": "systemd"}));
        }
        assert_eq!(facts.as_object().unwrap().len(), expected.len());
    }
}
