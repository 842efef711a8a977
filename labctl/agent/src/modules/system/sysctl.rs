//! `sysctl`: kernel parameters, in a file and in force.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};

pub(crate) const MODULE: Module = Module {
    names: &["sysctl"],
    params: &[
        text("name").must().aka(&["key"]),
        text("value").aka(&["val"]),
        text("state").of(&["present", "absent"]).or("present"),
        on("reload"),
        flag("sysctl_set"),
        flag("ignoreerrors"),
        path("sysctl_file").or("/etc/sysctl.conf"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("name").trim();
    let present = args.str("state") == "present";
    if name.is_empty() || name.contains(['\n', '=']) || name.split(['/', '.']).any(str::is_empty) {
        return Err(format!("name is not a sysctl parameter: '{name}'").into());
    }
    if present && args.filled("value").is_none() {
        return Err("value cannot be blank for state=present".into());
    }
    let value = match args.get("value") {
        Some(Value::String(text)) => match text.trim() {
            "True" | "true" | "yes" => "1".to_owned(),
            "False" | "false" | "no" => "0".to_owned(),
            other => other.to_owned(),
        },
        _ => String::new(),
    };
    let file = task.root.join(args.str("sysctl_file"));
    let before = Edit::read(&file)?;
    let text = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let (lines, in_file) = rewrite(&text, name, present.then_some(value.as_str()));
    let current = read(task, name);
    let write = if present { in_file.as_deref() != Some(&value) } else { in_file.is_some() };
    let differs = |current: &Option<String>| current.as_ref().is_some_and(|now| !same(now, &value));
    let set = present && args.flag("sysctl_set") && (current.is_none() || differs(&current));
    let stale = present && args.flag("reload") && differs(&current);
    let changed = write || set || stale;
    let after = if write { lines.concat().into_bytes() } else { before.clone().unwrap_or_default() };
    let edit = Edit { path: file, before: before.clone().or_else(|| (!write).then(Vec::new)), after, msg: String::new() };
    let mut result = edit.finish(task)?;
    result.remove("msg");
    result.insert("changed".into(), changed.into());
    if changed && !task.check && present && (set || args.flag("reload")) {
        let done = put(task, name, &value);
        if let Err(fault) = done
            && !args.flag("ignoreerrors")
        {
            return Err(fault);
        }
    }
    Ok(Done::from(result))
}

fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward`: whichever separator comes first separates.
fn key_file(task: &Task<'_>, name: &str) -> PathBuf {
    let slashes = name.find('/').unwrap_or(usize::MAX) < name.find('.').unwrap_or(usize::MAX);
    let path: String = match slashes {
        true => name.to_owned(),
        false => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
    };
    task.root.join("/proc/sys").join(path)
}

fn read(task: &Task<'_>, name: &str) -> Option<String> {
    fs::read_to_string(key_file(task, name)).ok().map(|text| text.trim().to_owned())
}

fn put(task: &Task<'_>, name: &str, value: &str) -> Result<(), Fault> {
    let path = key_file(task, name);
    if !path.exists() {
        return Err(format!("Failed to reload sysctl: sysctl: cannot stat {}: No such file or directory", path.display()).into());
    }
    fs::write(&path, format!("{value}\n")).map_err(|err| format!("setting {name} failed: sysctl: setting key \"{name}\": {err}").into())
}

/// The file's lines with the parameter set or gone, and the value that it had there.
fn rewrite(text: &str, name: &str, value: Option<&str>) -> (Vec<String>, Option<String>) {
    let mut found = None;
    let mut pending = value;
    let mut lines = Vec::new();
    for line in lines_of(text) {
        let bare = line.trim();
        let entry = bare.split_once('=').filter(|_| !bare.starts_with(['#', ';']));
        match entry {
            Some((key, old)) if key.trim() == name => {
                found.get_or_insert_with(|| old.trim().to_owned());
                if let Some(value) = pending.take() {
                    lines.push(format!("{name}={value}\n"));
                }
            }
            _ => lines.push(line),
        }
    }
    if let Some(value) = pending {
        if let Some(last) = lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push('\n');
        }
        lines.push(format!("{name}={value}\n"));
    }
    (lines, found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn file_and_kernel_agree_afterwards() {
        let bench = Bench::new();
        bench.write("etc/sysctl.conf", "# c\nvm.swappiness = 60");
        bench.write("proc/sys/vm/swappiness", "60\n");
        bench.converges("sysctl", json!({"name": "vm.swappiness", "value": 10}), true);
        assert_eq!(bench.read("etc/sysctl.conf"), "# c\nvm.swappiness=10\n");
        assert_eq!(bench.read("proc/sys/vm/swappiness"), "10\n");
        bench.write("proc/sys/vm/swappiness", "30\n");
        bench.converges("sysctl", json!({"name": "vm.swappiness", "value": "10", "sysctl_set": true}), true);
        bench.converges("sysctl", json!({"name": "vm.swappiness", "state": "absent"}), true);
        assert_eq!(bench.read("etc/sysctl.conf"), "# c\n");
        bench.write("proc/sys/net/ipv4/ip_forward", "0\n");
        let args = json!({"name": "net.ipv4.ip_forward", "value": true, "sysctl_file": "/etc/sysctl.d/9.conf"});
        bench.converges("sysctl", args, true);
        assert_eq!(bench.read("etc/sysctl.d/9.conf"), "net.ipv4.ip_forward=1\n");
    }

    #[test]
    fn unknown_parameters_fail_unless_ignored() {
        let bench = Bench::new();
        assert!(bench.fault("sysctl", json!({"name": "no.such", "value": 1})).starts_with("Failed to reload sysctl"));
        bench.run("sysctl", json!({"name": "no.other", "value": 1, "ignoreerrors": true}));
        assert_eq!(bench.fault("sysctl", json!({"name": "a.b"})), "value cannot be blank for state=present");
    }
}
