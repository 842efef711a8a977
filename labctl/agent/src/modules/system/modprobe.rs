//! `modprobe`: kernel modules.

use std::fs;

use serde_json::{Value, json};

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::Edit;

pub(crate) const MODULE: Module = Module {
    names: &["modprobe"],
    params: &[
        text("name").must(),
        text("state").of(&["absent", "present"]).or("present"),
        text("params").or(""),
        text("persistent").of(&["disabled", "present", "absent"]).or("disabled"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
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

/// Enables or disables loading at every boot, through /etc/modules-load.d and /etc/modprobe.d.
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
