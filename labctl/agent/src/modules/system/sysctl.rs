//! `sysctl`: kernel parameters, in a file and in the running kernel.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

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
        Some(Value::String(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "t" | "1" => "1".to_owned(),
            "false" | "no" | "off" | "n" | "f" | "0" => "0".to_owned(),
            _ => text.trim().to_owned(),
        },
        _ => String::new(),
    };
    let file = task.root.join(args.str("sysctl_file"));
    let before = Edit::read(&file)?;
    let text = lossless::decode(before.as_deref().unwrap_or_default());
    let (lines, in_file) = rewrite(&text, name, present.then_some(value.as_str()));
    let entries: Vec<(String, String)> =
        lines.iter().filter_map(|line| entry(line)).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let current = read(task, name);
    let write = if present { in_file.as_deref() != Some(&value) } else { in_file.is_some_and(|old| !old.is_empty()) };
    let differs = |current: &Option<String>| current.as_ref().is_some_and(|now| !same(now, &value));
    let set = present && args.flag("sysctl_set") && (current.is_none() || differs(&current));
    let stale = present && args.flag("reload") && differs(&current);
    let changed = write || set || stale;
    let after = if write { lossless::encode(&(lines.join("\n") + "\n")) } else { before.clone().unwrap_or_default() };
    let edit = Edit { path: file, before: before.clone().or_else(|| (!write).then(Vec::new)), after, msg: String::new() };
    let mut result = edit.finish(task)?;
    result.remove("msg");
    result.insert("changed".into(), changed.into());
    if changed && !task.check {
        if set {
            ignoring(args.flag("ignoreerrors"), put(task, name, &value))?;
        }
        if args.flag("reload") {
            // Like `sysctl -p FILE`: applies everything in the file, not only what is new.
            for (key, value) in &entries {
                ignoring(args.flag("ignoreerrors"), put(task, key, value))?;
            }
        }
    }
    Ok(Done::from(result))
}

fn ignoring(errors: bool, done: Result<(), Fault>) -> Result<(), Fault> {
    if errors { Ok(()) } else { done }
}

fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward`: the first separator found is the one that counts.
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

/// Parameter and value of a line.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
    Some((key.trim(), value.trim()))
}

/// The file's lines without line ends, each parameter once and without spaces around `=`, with this one set or removed; also the value
/// that it had in the file, where the last one counts.
fn rewrite(text: &str, name: &str, value: Option<&str>) -> (Vec<String>, Option<String>) {
    let (mut found, mut seen, mut lines) = (None, Vec::new(), Vec::new());
    for line in lines_of(text) {
        let line = line.trim();
        let Some((key, old)) = entry(line) else {
            lines.push(line.to_owned());
            continue;
        };
        if key == name {
            found = Some(old.to_owned());
        }
        if seen.iter().any(|other| other == key) {
            continue;
        }
        seen.push(key.to_owned());
        let now = if key == name { value } else { Some(old) };
        lines.extend(now.map(|now| format!("{key}={now}")));
    }
    if let Some(value) = value.filter(|_| found.is_none()) {
        lines.push(format!("{name}={value}"));
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
    fn a_reload_takes_the_whole_file() {
        let bench = Bench::new();
        bench.write("etc/sysctl.conf", " vm.a = 1\n; c\nvm.b=off\nvm.a = 7\n");
        bench.write("proc/sys/vm/a", "0\n");
        bench.write("proc/sys/vm/b", "0\n");
        bench.run("sysctl", json!({"name": "vm.b", "value": "on"}));
        assert_eq!(bench.read("etc/sysctl.conf"), "vm.a=1\n; c\nvm.b=1\n");
        assert_eq!((bench.read("proc/sys/vm/a"), bench.read("proc/sys/vm/b")), ("1\n".to_owned(), "1\n".to_owned()));
    }

    #[test]
    fn unknown_parameters_fail_unless_ignored() {
        let bench = Bench::new();
        assert!(bench.fault("sysctl", json!({"name": "no.such", "value": 1})).starts_with("Failed to reload sysctl"));
        bench.run("sysctl", json!({"name": "no.other", "value": 1, "ignoreerrors": true}));
        assert_eq!(bench.fault("sysctl", json!({"name": "a.b"})), "value cannot be blank for state=present");
    }
}
