//! `systemd` and `service`: state and enablement of units.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{Arguments, flag, int, param_flag, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::systemd::{CallError, Systemd, UnitFiles, is_plainly_enabled, unit_name};

pub(crate) const MODULE: Module = Module {
    names: &["systemd"],
    params: &[
        text("name").aka(&["service", "unit"]),
        text("state").of(&["reloaded", "restarted", "started", "stopped"]),
        param_flag("enabled"),
        param_flag("force"),
        param_flag("masked"),
        flag("daemon_reload").aka(&["daemon-reload"]),
        flag("daemon_reexec").aka(&["daemon-reexec"]),
        text("scope").of(&["system", "user", "global"]).or("system"),
        flag("no_block"),
    ],
    files: false,
    run,
};

pub(crate) const SERVICE: Module = Module {
    names: &["service"],
    params: &[
        text("name").must(),
        text("state").of(&["reloaded", "restarted", "started", "stopped"]),
        param_flag("enabled"),
        text("pattern"),
        text("arguments").aka(&["args"]),
        text("runlevel"),
        int("sleep"),
        text("use").or("auto"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    if task.call.module.ends_with("service") && !task.call.module.ends_with("systemd_service") {
        args.one_of(&["state", "enabled"])?;
    } else {
        args.one_of(&["state", "enabled", "masked", "daemon_reload", "daemon_reexec"])?;
        needs_name(args)?;
    }
    let of_user = (args.text("scope") == Some("user")).then(|| rustix::process::geteuid().as_raw());
    let mut systemd = Systemd::connect(task.root.folder(), of_user, task.call.timeout_ms).map_err(unreachable)?;
    let mut enabled_ahead = false;
    if args.flag("daemon_reload") && !task.check {
        enabled_ahead = enable_ahead(task, &mut systemd);
        systemd.reload().map_err(|err| Fault::from(format!("failure 1 during daemon-reload: {err}")))?;
    }
    if args.flag("daemon_reexec") && !task.check {
        systemd.reexecute().map_err(|err| Fault::from(format!("failure 1 during daemon-reexec: {err}")))?;
        systemd = Systemd::connect(task.root.folder(), of_user, task.call.timeout_ms).map_err(unreachable)?;
    }
    let mut result = Map::new();
    result.insert("changed".into(), false.into());
    let Some(name) = args.filled("name") else {
        result.insert("name".into(), Value::Null);
        result.insert("status".into(), json!({}));
        return Ok(result.into());
    };
    result.insert("name".into(), name.into());
    let unit = unit_name(name);
    let status = systemd.unit(&unit).map_err(|err| refused(name, &err))?;
    let mut work = Work { task, systemd, name, unit, enabled_ahead, status, result };
    work.all()?;
    let Work { status, mut result, .. } = work;
    result.insert("status".into(), Value::Object(status));
    Ok(result.into())
}

fn needs_name(args: &Arguments) -> Result<(), Fault> {
    for key in ["state", "enabled", "masked"] {
        if args.has(key) && !args.has("name") {
            return Err(format!("missing parameter(s) required by '{key}': name").into());
        }
    }
    Ok(())
}

fn unreachable(err: CallError) -> Fault {
    err.to_string().into()
}

fn refused(name: &str, err: &CallError) -> Fault {
    format!("Error loading unit file '{name}': {err}").into()
}

/// Enables a unit before the reload that the task asks for: otherwise there would be two reloads, each of a second in an emulated guest.
/// Done only where it makes no other difference: systemd has read the unit as it is on disk, and it can be loaded.
fn enable_ahead(task: &Task<'_>, systemd: &mut Systemd) -> bool {
    let args = &task.args;
    let (Some(name), Some(true), None) = (args.filled("name"), args.maybe("enabled"), args.maybe("masked")) else { return false };
    let unit = unit_name(name);
    let disabled = UnitFiles::read(task.root.folder()).state(&unit).is_some_and(|file| file.state == "disabled");
    let known = |status: Map<String, Value>| {
        let is = |key: &str, wanted: &str| status.get(key).and_then(Value::as_str) == Some(wanted);
        is("LoadState", "loaded") && is("NeedDaemonReload", "no")
    };
    disabled
        && args.text("scope") == Some("system")
        && systemd.unit(&unit).is_ok_and(known)
        && systemd.enable_file(&unit, args.flag("force")).is_ok()
}

struct Work<'a> {
    task: &'a Task<'a>,
    systemd: Systemd,
    name: &'a str,
    unit: String,
    /// Whether it was enabled before the requested reload.
    enabled_ahead: bool,
    status: Map<String, Value>,
    result: Map<String, Value>,
}

impl Work<'_> {
    fn is(&self, key: &str, values: &[&str]) -> bool {
        self.status.get(key).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
    }

    fn changed(&mut self) {
        self.result.insert("changed".into(), true.into());
    }

    fn all(&mut self) -> Result<(), Fault> {
        let args = &self.task.args;
        if let Some(masked) = args.maybe("masked")
            && self.is("LoadState", &["masked"]) != masked
        {
            self.changed();
            if !self.task.check {
                let word = if masked { "mask" } else { "unmask" };
                let unit = self.unit.clone();
                self.systemd.mask(&unit, masked).map_err(|err| Fault::from(format!("Unable to {word} service {}: {err}", self.name)))?;
                self.status = self.systemd.unit(&unit).map_err(|err| refused(self.name, &err))?;
            }
        }
        let wants = args.has("state") || args.has("enabled");
        if wants && self.is("LoadState", &["not-found"]) {
            if !self.task.check {
                return Err(format!("Could not find the requested service {}: host", self.name).into());
            }
            // An earlier task may install the unit.
            self.changed();
            let warning = format!("unit {} does not exist yet; an earlier task may install it", self.unit);
            self.result.insert("warnings".into(), json!([warning]));
            return Ok(());
        }
        if wants && self.is("LoadState", &["error", "bad-setting"]) && !self.task.check {
            let why = self.status.get("LoadError").cloned().unwrap_or_default();
            return Err(format!("Error loading unit file '{}': {why}", self.name).into());
        }
        if let Some(enabled) = args.maybe("enabled") {
            self.enable(enabled)?;
        }
        if let Some(state) = args.text("state") {
            self.state(state)?;
        }
        Ok(())
    }

    fn enable(&mut self, wanted: bool) -> Result<(), Fault> {
        if self.enabled_ahead {
            self.result.insert("enabled".into(), true.into());
            self.changed();
            return Ok(());
        }
        let unit = self.unit.clone();
        let state = self.file_state();
        // systemctl(1) is-enabled succeeds for these; Ansible does not count an alias or an indirect unit as enabled.
        let enabled = match state.as_str() {
            "enabled" | "enabled-runtime" | "static" => true,
            "generated" => self.sysv_enabled(),
            _ => false,
        };
        self.result.insert("enabled".into(), wanted.into());
        if enabled == wanted {
            return Ok(());
        }
        self.changed();
        if self.task.check {
            return Ok(());
        }
        let word = if wanted { "enable" } else { "disable" };
        if state == "generated" {
            // An init script: only systemctl can forward it to update-rc.d.
            Spawn::of(self.task, ["systemctl", word, &unit]).must()?;
        } else {
            let done = match wanted {
                true => self.systemd.enable(&unit, self.task.args.flag("force")),
                false => self.systemd.disable(&unit),
            };
            done.map_err(|err| Fault::from(format!("Unable to {word} service {}: {err}", self.name)))?;
        }
        if let Ok(status) = self.systemd.unit(&unit) {
            self.status = status;
        }
        Ok(())
    }

    /// The state of the unit's file: from disk if possible, because systemd takes 80 ms and more to return it in an emulated guest.
    fn file_state(&mut self) -> String {
        if self.task.args.text("scope") != Some("user") {
            let root = self.task.root.folder();
            if is_plainly_enabled(root, &self.unit) {
                return "enabled".to_owned();
            }
            if let Some(file) = UnitFiles::read(root).state(&self.unit) {
                return file.state.to_owned();
            }
        }
        let unit = self.unit.clone();
        self.systemd.file_state(&unit).unwrap_or_default()
    }

    /// Whether an init script is linked into the default runlevel.
    fn sysv_enabled(&self) -> bool {
        let name = self.unit.trim_end_matches(".service");
        let pattern = self.task.root.join(format!("/etc/rc[2-5].d/S[0-9][0-9]{name}"));
        crate::modules::files::find_glob::any(Path::new(&pattern))
    }

    fn state(&mut self, wanted: &str) -> Result<(), Fault> {
        let running = self.is("ActiveState", &["active", "activating", "reloading", "refreshing"]);
        let stopping = self.is("ActiveState", &["deactivating"]);
        self.result.insert("state".into(), wanted.into());
        let (word, method) = match wanted {
            "started" if running => return Ok(()),
            "stopped" if running || stopping => ("stop", "StopUnit"),
            "stopped" => return Ok(()),
            "restarted" if running => ("restart", "RestartUnit"),
            "reloaded" if running => ("reload", "ReloadUnit"),
            _ => ("start", "StartUnit"),
        };
        if wanted != "stopped" {
            self.result.insert("state".into(), "started".into());
        }
        let job = if wanted == "started" { self.systemd.job_type(&self.status) } else { None };
        match job.as_deref() {
            // This joins the existing job, which is waited for below: it would have run without this task.
            Some("start") => {}
            Some("") => {
                self.status = self.systemd.unit(&self.unit).map_err(|err| refused(self.name, &err))?;
                return self.state(wanted);
            }
            _ => self.changed(),
        }
        if self.task.check {
            return Ok(());
        }
        let block = !self.task.args.flag("no_block");
        let unit = self.unit.clone();
        let ended =
            self.systemd.job(method, &unit, block).map_err(|err| Fault::from(format!("Unable to {word} service {}: {err}", self.name)))?;
        if ended == "done" {
            return Ok(());
        }
        let why = match ended.as_str() {
            "dependency" => "A dependency job for it failed".to_owned(),
            "timeout" => format!("Job for {unit} failed because a timeout was exceeded"),
            "canceled" => format!("Job for {unit} canceled"),
            _ => format!("Job for {unit} failed ({ended})"),
        };
        let status = self.systemd.unit(&unit).unwrap_or_default();
        let hint = format!("See \"systemctl status {unit}\" and \"journalctl -xeu {unit}\" for details.");
        Err(Fault::from(format!("Unable to {word} service {}: {why}.\n{hint}", self.name)).with("status", Value::Object(status)))
    }
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
