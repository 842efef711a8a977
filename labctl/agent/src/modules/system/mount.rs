//! `mount`: entries in fstab and mounted file systems.

use std::fs;
use std::path::Path;

use rustix::mount::{UnmountFlags, unmount};
use serde_json::{Map, Value};

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

pub(crate) const MODULE: Module = Module {
    names: &["mount"],
    params: &[
        path("path").must().aka(&["name"]),
        text("src"),
        text("fstype"),
        text("opts"),
        text("opts_no_log"),
        text("dump").or("0"),
        text("passno").or("0"),
        text("state").must().of(&["absent", "absent_from_fstab", "mounted", "present", "unmounted", "remounted", "ephemeral"]),
        path("fstab").or("/etc/fstab"),
        on("boot"),
        flag("backup"),
    ],
    files: false,
    run,
};

/// Escapes whitespace as fstab requires.
fn escape(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let state = args.str("state");
    for wanted in ["mounted", "present", "ephemeral"] {
        args.needed_if("state", wanted, &["src", "fstype"])?;
    }
    let point = args.str("path").trim_end_matches('/');
    let point = if point.is_empty() { "/" } else { point };
    let fstab = task.root.join(args.str("fstab"));
    let before = Edit::read(&fstab)?;
    let old = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&old);
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push('\n');
    }
    let is = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        !line.trim_start().starts_with('#') && fields.len() >= 3 && fields[1] == escape(point)
    };
    match state {
        "mounted" | "present" => {
            let opts = match (args.filled("opts").unwrap_or("defaults"), args.flag("boot")) {
                (opts, true) => opts.to_owned(),
                (opts, false) => format!("{opts},noauto"),
            };
            let (src, kind) = (escape(args.str("src")), args.str("fstype"));
            let line = format!("{src} {} {kind} {opts} {} {}\n", escape(point), args.str("dump"), args.str("passno"));
            let same = |a: &str, b: &str| a.split_whitespace().eq(b.split_whitespace());
            match lines.iter().position(|old| is(old)) {
                Some(at) if same(&lines[at], &line) => {}
                Some(at) => lines[at] = line,
                None => lines.push(line),
            }
        }
        "absent" | "absent_from_fstab" => lines.retain(|line| !is(line)),
        _ => {}
    }
    let after = lines.concat();
    let edited = after != old;
    let before = if edited { before } else { before.or(Some(Vec::new())) };
    let mut result = Edit { path: fstab, before, after: lossless::encode(&after), msg: String::new() }.finish(task)?;
    result.remove("msg");
    let mounted = is_mounted(task, point);
    let acted = act(task, state, point, mounted, edited)?;
    result.insert("changed".into(), (edited || acted).into());
    report(task, point, &mut result);
    Ok(Done::from(result))
}

/// Mounts or unmounts; returns whether anything had to be done.
fn act(task: &Task<'_>, state: &str, point: &str, mounted: bool, edited: bool) -> Result<bool, Fault> {
    let args = &task.args;
    let needed = match state {
        "mounted" | "ephemeral" => !mounted || (edited && state == "mounted"),
        "remounted" => true,
        "unmounted" | "absent" => mounted || (state == "absent" && Path::new(point).is_dir()),
        _ => false,
    };
    if !needed || task.check {
        return Ok(needed);
    }
    let fstab = task.root.join(args.str("fstab")).to_string_lossy().into_owned();
    match state {
        "mounted" | "ephemeral" => {
            fs::create_dir_all(point).attempt("create the folder", point)?;
            let mut argv: Vec<&str> = vec!["mount"];
            if state == "ephemeral" {
                argv.extend(["-t", args.str("fstype"), "-o", args.filled("opts").unwrap_or("defaults"), args.str("src"), point]);
            } else {
                argv.extend(["-T", &fstab]);
                if mounted {
                    argv.extend(["-o", "remount"]);
                }
                argv.push(point);
            }
            let program = argv.join(" ");
            Spawn::of(task, argv)
                .must()
                .map_err(|fault| Fault { msg: format!("Error mounting {point}: {}", fault.msg.trim_start_matches(&program)), ..fault })?;
        }
        "remounted" => {
            Spawn::of(task, ["mount", "-T", &fstab, "-o", "remount", point]).must()?;
        }
        _ => {
            if mounted {
                unmount(point, UnmountFlags::empty()).attempt("unmount", point)?;
            }
            if state == "absent" && Path::new(point).is_dir() {
                fs::remove_dir(point).attempt("remove", point)?;
            }
        }
    }
    Ok(true)
}

fn is_mounted(task: &Task<'_>, point: &str) -> bool {
    let table = fs::read_to_string(task.root.join("/proc/self/mounts")).unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(1) == Some(escape(point).as_str()))
}

fn report(task: &Task<'_>, point: &str, result: &mut Map<String, Value>) {
    result.insert("name".into(), point.into());
    for key in ["src", "fstype", "opts", "dump", "passno", "fstab", "boot"] {
        if let Some(value) = task.args.get(key) {
            result.insert(key.into(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn lines_of_fstab() {
        let bench = Bench::new();
        bench.write("etc/fstab", "# c\n/dev/vda1 / ext4 defaults 0 1\n");
        let args = json!({"path": "/no/such/data dir", "src": "/dev/vdb", "fstype": "ext4", "opts": "noatime", "state": "present"});
        bench.converges("mount", args, true);
        assert!(bench.read("etc/fstab").ends_with("/dev/vdb /no/such/data\\040dir ext4 noatime 0 0\n"));
        bench.converges("mount", json!({"path": "/no/such/data dir", "state": "absent"}), true);
        assert_eq!(bench.read("etc/fstab"), "# c\n/dev/vda1 / ext4 defaults 0 1\n");
        bench.write("proc/self/mounts", "/dev/vdb /no/such/there ext4 rw 0 0\n");
        bench.write("etc/fstab", "/dev/vdb /no/such/there ext4 defaults 0 0\n");
        let args = json!({"path": "/no/such/there", "src": "/dev/vdb", "fstype": "ext4", "state": "mounted"});
        bench.converges("mount", args, false);
    }
}
