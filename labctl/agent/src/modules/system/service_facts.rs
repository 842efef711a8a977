//! `service_facts`: services and their states, from one call to systemd and a look at its folders and those of init scripts.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Map, Value, json};

use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::systemd::{Systemd, UnitFiles, UnitSummary};

pub(crate) const MODULE: Module = Module { names: &["service_facts"], params: &[], files: false, run };

/// Words that take precedence over the unit file's state, as Ansible looks for them in the columns of `systemctl list-units`.
const BAD: [&str; 3] = ["not-found", "masked", "failed"];

fn status(unit: &UnitSummary) -> &str {
    let columns = [&unit.load, &unit.active, &unit.sub];
    BAD.into_iter().find(|bad| columns.iter().any(|column| column == bad)).unwrap_or(&unit.active)
}

fn run(task: &Task<'_>) -> Outcome {
    let services = match Systemd::connect(task.root.folder(), None, task.call.timeout_ms) {
        Ok(systemd) => known_to_systemd(task, systemd)?,
        Err(_) => told_by_scripts(task),
    };
    if services.is_empty() {
        let msg = "Failed to find any services. This can be due to privileges or some other configuration issue.";
        return Ok(json!({"changed": false, "skipped": true, "msg": msg}).into());
    }
    Ok(json!({"changed": false, "ansible_facts": {"services": services}}).into())
}

/// Init scripts that `service --status-all` skips (service(8)).
const NO_SERVICES: [&str; 7] = ["skeleton", "README", "rc", "rcS", "single", "reboot", "bootclean.sh"];

/// Init scripts that support `status`: under systemd they forward it to the unit of the same name.
fn scripts(task: &Task<'_>, units: &[UnitSummary]) -> Vec<(String, Value)> {
    let entries = fs::read_dir(task.root.join("/etc/init.d")).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for script in entries {
        let name = script.file_name().to_string_lossy().into_owned();
        let runs = fs::metadata(script.path()).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        let passed_over = NO_SERVICES.contains(&name.as_str()) || name.ends_with(".dpkg-dist") || name.ends_with(".dpkg-old");
        if !runs || passed_over || !fs::read_to_string(script.path()).is_ok_and(|text| text.contains("status)")) {
            continue;
        }
        let active = units.iter().any(|unit| unit.name == format!("{name}.service") && unit.active == "active");
        found.push((name.clone(), script_entry(&name, active)));
    }
    found
}

fn script_entry(name: &str, runs: bool) -> Value {
    json!({"name": name, "state": if runs { "running" } else { "stopped" }, "source": "sysv"})
}

/// Without systemd, the scripts themselves have to be asked.
fn told_by_scripts(task: &Task<'_>) -> Map<String, Value> {
    let said = Spawn::of(task, ["service", "--status-all"]).run().map(|output| output.out()).unwrap_or_default();
    let entry = |line: &str| {
        let (state, name) = line.trim().strip_prefix("[ ")?.split_once(" ]")?;
        matches!(state, "+" | "-").then(|| (name.trim().to_owned(), script_entry(name.trim(), state == "+")))
    };
    said.lines().filter_map(entry).collect()
}

fn known_to_systemd(task: &Task<'_>, mut systemd: Systemd) -> Result<Map<String, Value>, Fault> {
    let root = task.root.folder();
    let units = systemd.units_like("*.service").map_err(|err| Fault::from(format!("systemd did not list its units: {err}")))?;
    let mut services: Map<String, Value> = scripts(task, &units).into_iter().collect();
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
                // What `systemctl show` prints for a unit that is not loaded; it does not handle templates.
                let real = file.alias_of.as_deref().unwrap_or(name);
                let state = if name.contains("@.") { "unknown" } else { active.get(real).copied().unwrap_or("inactive") };
                services.insert(name.to_owned(), entry(name, state, file.state));
            }
        }
    }
    Ok(services)
}

fn entry(name: &str, state: &str, status: &str) -> Value {
    json!({"name": name, "state": state, "status": status, "source": "systemd"})
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        for (name, text) in [("ssh", "case $1 in status) ;; esac"), ("idle", "status)"), ("mute", "start)"), ("skeleton", "status)")] {
            bench.write(&format!("etc/init.d/{name}"), text);
            std::fs::set_permissions(bench.path(&format!("etc/init.d/{name}")), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let facts = bench.run("service_facts", json!({}))["ansible_facts"]["services"].clone();
        assert_eq!(facts["ssh"], json!({"name": "ssh", "state": "running", "source": "sysv"}));
        assert_eq!(facts["idle"], json!({"name": "idle", "state": "stopped", "source": "sysv"}));
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
        assert_eq!(facts.as_object().unwrap().len(), expected.len() + 2);
    }

    #[test]
    fn without_systemd_the_scripts_are_asked() {
        let bench = Bench::new();
        bench.program("service", "echo 'service: not found' >&2; exit 127");
        let none = bench.run("service_facts", json!({}));
        assert_eq!(none["skipped"], true);
        bench.program("service", "echo ' [ + ]  cron'; echo ' [ - ]  x11-common'; echo ' [ ? ]  hwclock.sh'");
        let services = bench.run("service_facts", json!({}))["ansible_facts"]["services"].clone();
        assert_eq!((&services["cron"]["state"], &services["x11-common"]["state"]), (&json!("running"), &json!("stopped")));
        assert_eq!(services.as_object().unwrap().len(), 2);
    }
}
