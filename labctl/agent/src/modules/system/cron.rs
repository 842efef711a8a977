//! `cron`: jobs and variables in crontabs. cron(8) notices changed files by itself.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::arguments::{flag, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::diff;
use crate::modules::text::lossless;

pub(crate) const MODULE: Module = Module {
    names: &["cron"],
    params: &[
        text("name").must(),
        text("user"),
        text("job").aka(&["value"]),
        text("cron_file"),
        text("state").of(&["absent", "present"]).or("present"),
        flag("backup"),
        text("minute").or("*"),
        text("hour").or("*"),
        text("day").or("*").aka(&["dom"]),
        text("month").or("*"),
        text("weekday").or("*").aka(&["dow"]),
        text("special_time").of(&["reboot", "yearly", "annually", "monthly", "weekly", "daily", "hourly"]),
        flag("disabled"),
        flag("env"),
        text("insertafter"),
        text("insertbefore"),
    ],
    files: false,
    run,
};

const MARK: &str = "#Ansible: ";

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let present = args.str("state") == "present";
    if present && !args.has("job") {
        return Err(if args.flag("env") {
            "You must specify 'job' to install a new cron environment variable".into()
        } else {
            Fault::from("You must specify 'job' to install a new cron job or variable")
        });
    }
    if args.str("job").contains('\n') {
        return Err("job must not contain line breaks".into());
    }
    let user = args.filled("user").unwrap_or("root");
    let path = table(task, user);
    let before = Edit::read(&path)?;
    let text = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&text);
    if args.flag("env") {
        variable(task, &mut lines)
    } else {
        job(task, &mut lines, user)
    };
    let after = lines.concat();
    let changed = after != text;
    let mut result = Map::new();
    if changed && !task.check {
        write(task, &path, user, &after)?;
    }
    result.insert("changed".into(), changed.into());
    let (jobs, envs) = listing(&lines);
    result.insert("jobs".into(), jobs);
    result.insert("envs".into(), envs);
    task.put_diff(&mut result, || diff::texts(&path.to_string_lossy(), &text, &after));
    Ok(Done::from(result))
}

fn table(task: &Task<'_>, user: &str) -> PathBuf {
    match task.args.filled("cron_file") {
        Some(file) if file.starts_with('/') => PathBuf::from(file),
        Some(file) => task.root.join("/etc/cron.d").join(file),
        None => task.root.join("/var/spool/cron/crontabs").join(user),
    }
}

fn write(task: &Task<'_>, path: &PathBuf, user: &str, text: &str) -> Result<(), Fault> {
    if task.args.flag("backup") && path.exists() {
        crate::modules::files::content::back_up(path)?;
    }
    if text.is_empty() {
        return fs::remove_file(path).attempt("remove", path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    let attributes = if task.args.has("cron_file") {
        Attributes { mode: 0o644, uid: Some(0), gid: Some(0) }
    } else {
        let owner = passwd::user(task.root, user).ok_or_else(|| Fault::from(format!("user {user} does not exist")))?;
        let gid = passwd::group(task.root, "crontab").map_or(owner.gid, |group| group.gid);
        Attributes { mode: 0o600, uid: Some(owner.uid), gid: Some(gid) }
    };
    replace(path, text.as_bytes(), &attributes).attempt("write", path)
}

fn job(task: &Task<'_>, lines: &mut Vec<String>, user: &str) {
    let args = &task.args;
    let mark = format!("{MARK}{}\n", args.str("name"));
    let off = if args.flag("disabled") { "#" } else { "" };
    let time = match args.filled("special_time") {
        Some(time) => format!("@{time}"),
        None => ["minute", "hour", "day", "month", "weekday"].map(|key| args.str(key)).join(" "),
    };
    let who = if args.has("cron_file") { format!(" {user}") } else { String::new() };
    let line = format!("{off}{time}{who} {}\n", args.str("job"));
    let at = lines.iter().position(|line| *line == mark);
    match (at, args.str("state") == "present") {
        (Some(at), true) => match lines.get_mut(at + 1) {
            Some(old) => *old = line,
            None => lines.push(line),
        },
        (Some(at), false) => {
            lines.drain(at..(at + 2).min(lines.len()));
        }
        (None, true) => lines.extend([mark, line]),
        (None, false) => {}
    }
}

fn variable(task: &Task<'_>, lines: &mut Vec<String>) {
    let args = &task.args;
    let is = |line: &String, name: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == name);
    let line = format!("{}=\"{}\"\n", args.str("name"), args.str("job"));
    let at = lines.iter().position(|line| is(line, args.str("name")));
    match (at, args.str("state") == "present") {
        (Some(at), true) => lines[at] = line,
        (Some(at), false) => drop(lines.remove(at)),
        (None, true) => {
            let anchor = |key: &str| args.filled(key).and_then(|name| lines.iter().position(|line| is(line, name)));
            let at = anchor("insertafter").map(|at| at + 1).or(anchor("insertbefore")).unwrap_or(0);
            lines.insert(at, line);
        }
        (None, false) => {}
    }
}

fn listing(lines: &[String]) -> (Value, Value) {
    let jobs: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(MARK)).map(str::trim_end).collect();
    let envs: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(key, _)| key.trim())
        .filter(|key| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect();
    (json!(jobs), json!(envs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn jobs_and_variables() {
        let bench = Bench::new();
        let args = json!({"name": "backup", "minute": "5", "job": "/bin/true", "user": "app"});
        bench.converges("cron", args, true);
        assert_eq!(bench.read("var/spool/cron/crontabs/app"), "#Ansible: backup\n5 * * * * /bin/true\n");
        bench.converges("cron", json!({"name": "PATH", "env": true, "job": "/bin", "user": "app"}), true);
        assert!(bench.read("var/spool/cron/crontabs/app").starts_with("PATH=\"/bin\"\n"));
        bench.converges("cron", json!({"name": "backup", "special_time": "daily", "job": "x", "user": "app", "disabled": true}), true);
        assert!(bench.read("var/spool/cron/crontabs/app").contains("#@daily x\n"));
        bench.converges("cron", json!({"name": "c", "cron_file": "lab", "user": "root", "job": "y"}), true);
        assert_eq!(bench.read("etc/cron.d/lab"), "#Ansible: c\n* * * * * root y\n");
        bench.converges("cron", json!({"name": "c", "cron_file": "lab", "state": "absent"}), true);
        assert!(!bench.exists("etc/cron.d/lab"));
    }
}
