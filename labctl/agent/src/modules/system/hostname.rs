//! `hostname`, `timezone` and `modprobe`.

use std::fs;

use serde_json::{Value, json};

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::beside;
use crate::modules::files::edit::Edit;

pub(crate) const MODULE: Module = Module { names: &["hostname"], params: &[text("name").must(), text("use")], files: false, run: hostname };

pub(crate) const TIMEZONE: Module =
    Module { names: &["timezone"], params: &[text("name"), text("hwclock").aka(&["rtc"])], files: false, run: timezone };

pub(crate) const MODPROBE: Module = Module {
    names: &["modprobe"],
    params: &[
        text("name").must(),
        text("state").of(&["absent", "present"]).or("present"),
        text("params").or(""),
        text("persistent").of(&["disabled", "present", "absent"]).or("disabled"),
    ],
    files: false,
    run: modprobe,
};

fn hostname(task: &Task<'_>) -> Outcome {
    let name = task.args.str("name");
    let bad = name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if bad || name.starts_with(['-', '.']) {
        return Err(format!("name is not a host name: '{name}'").into());
    }
    let path = task.root.join("/etc/hostname");
    let before = Edit::read(&path)?;
    let permanent = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().trim().to_owned();
    let current = fs::read_to_string(task.root.join("/proc/sys/kernel/hostname")).unwrap_or_default().trim().to_owned();
    let changed = permanent != name || current != name;
    if changed && !task.check {
        if permanent != name {
            Edit { path, before, after: format!("{name}\n").into_bytes(), msg: String::new() }.finish(task)?;
        }
        if task.root.is_real() {
            rustix::system::sethostname(name.as_bytes()).attempt("set the host name in", "/proc/sys/kernel/hostname")?;
        } else {
            let proc = task.root.join("/proc/sys/kernel/hostname");
            fs::write(&proc, format!("{name}\n")).attempt("write", &proc)?;
        }
    }
    let short = name.split('.').next().unwrap_or_default();
    let domain = name.split_once('.').map_or("", |(_, domain)| domain);
    let mut result = json!({
        "changed": changed, "name": name,
        "ansible_facts": {"ansible_hostname": short, "ansible_nodename": name, "ansible_fqdn": name, "ansible_domain": domain},
    });
    if changed && task.diff {
        result["diff"] = json!({"before": format!("hostname = {permanent}\n"), "after": format!("hostname = {name}\n")});
    }
    Ok(result.into())
}

fn timezone(task: &Task<'_>) -> Outcome {
    task.args.one_of(&["hwclock", "name"])?;
    let Some(name) = task.args.filled("name") else {
        return Err("hwclock is not supported by labctl's timezone module: guests have no clock of their own to set".into());
    };
    let zone = format!("/usr/share/zoneinfo/{name}");
    if name.starts_with('/') || name.contains("..") || !task.root.join(&zone).is_file() {
        return Err(format!("given timezone \"{name}\" is not available").into());
    }
    let link = task.root.join("/etc/localtime");
    let target = fs::read_link(&link).unwrap_or_default();
    let before = target.to_string_lossy().split_once("zoneinfo/").map_or(String::new(), |(_, name)| name.to_owned());
    let file = task.root.join("/etc/timezone");
    let text = Edit::read(&file)?;
    let stale = text.as_deref().is_some_and(|text| String::from_utf8_lossy(text).trim() != name);
    let changed = before != name || stale;
    if changed && !task.check {
        if before != name {
            let temporary = beside(&link);
            std::os::unix::fs::symlink(&zone, &temporary).attempt("link", &link)?;
            fs::rename(&temporary, &link).attempt("replace", &link)?;
        }
        Edit { path: file, before: text, after: format!("{name}\n").into_bytes(), msg: String::new() }.finish(task)?;
    }
    let mut result = json!({"changed": changed});
    if task.diff {
        result["diff"] = json!({"before": {"name": before}, "after": {"name": name}});
    }
    Ok(result.into())
}

fn modprobe(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("name");
    let present = args.str("state") == "present";
    let plain = name.replace('-', "_");
    let loaded = fs::read_to_string(task.root.join("/proc/modules"))
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(' ').next() == Some(plain.as_str()))
        || built_in(task, &plain);
    let mut changed = loaded != present;
    if changed && !task.check {
        let mut argv = vec!["modprobe"];
        if !present {
            argv.push("-r");
        }
        argv.push(name);
        argv.extend(args.str("params").split_whitespace());
        Spawn::of(task, argv).must()?;
    }
    changed |= persist(task, name)?;
    Ok(json!({"changed": changed, "name": name, "params": args.str("params"), "state": args.str("state")}).into())
}

fn built_in(task: &Task<'_>, plain: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let list = fs::read_to_string(task.root.join(format!("/lib/modules/{release}/modules.builtin"))).unwrap_or_default();
    list.lines().any(|line| {
        let file = line.rsplit('/').next().unwrap_or_default();
        file.split('.').next().is_some_and(|stem| stem.replace('-', "_") == plain)
    })
}

/// Loads it at every boot (or no more), through /etc/modules-load.d and /etc/modprobe.d.
fn persist(task: &Task<'_>, name: &str) -> Result<bool, crate::modules::call::outcome::Fault> {
    let wanted = match task.args.str("persistent") {
        "present" => true,
        "absent" => false,
        _ => return Ok(false),
    };
    let mut changed = false;
    let params = task.args.str("params");
    let files = [
        (format!("/etc/modules-load.d/{name}.conf"), format!("{name}\n")),
        (format!("/etc/modprobe.d/{name}.conf"), if params.is_empty() { String::new() } else { format!("options {name} {params}\n") }),
    ];
    for (path, content) in files {
        let path = task.root.join(path);
        let before = Edit::read(&path)?;
        if !wanted || content.is_empty() {
            if before.is_some() {
                changed = true;
                if !task.check {
                    fs::remove_file(&path).attempt("remove", &path)?;
                }
            }
        } else {
            let result = Edit { path, before, after: content.into_bytes(), msg: String::new() }.finish(task)?;
            changed |= result.get("changed") == Some(&Value::Bool(true));
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn names_zones_and_modules() {
        let bench = Bench::new();
        bench.write("etc/hostname", "old\n");
        bench.write("proc/sys/kernel/hostname", "old\n");
        let result = bench.converges("hostname", json!({"name": "web.demo"}), true);
        assert_eq!(
            (bench.read("etc/hostname").as_str(), result["ansible_facts"]["ansible_hostname"].as_str()),
            ("web.demo\n", Some("web"))
        );
        bench.write("usr/share/zoneinfo/Europe/Berlin", "");
        bench.converges("timezone", json!({"name": "Europe/Berlin"}), true);
        assert_eq!(bench.read("etc/timezone"), "Europe/Berlin\n");
        assert!(bench.fault("timezone", json!({"name": "Mars/Base"})).contains("is not available"));
        bench.write("proc/modules", "br_netfilter 1 0 - Live 0x0\n");
        bench.converges("modprobe", json!({"name": "br-netfilter"}), false);
        bench.converges("modprobe", json!({"name": "br_netfilter", "persistent": "present"}), true);
        assert_eq!(bench.read("etc/modules-load.d/br_netfilter.conf"), "br_netfilter\n");
    }
}
