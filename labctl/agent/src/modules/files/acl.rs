//! `acl`: access lists of files.

use std::path::Path;

use serde_json::json;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Outcome, must_exist};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["acl"],
    params: &[
        path("path").must().aka(&["name"]),
        text("entry"),
        text("entity").or(""),
        text("etype").of(&["group", "mask", "other", "user"]),
        text("permissions"),
        text("state").of(&["absent", "present", "query"]).or("query"),
        flag("follow"),
        flag("default"),
        flag("recursive"),
        flag("recalculate_mask"),
        flag("use_nfsv4_acls"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    if !Path::new(file).exists() && task.check {
        return Ok(json!({"changed": true}).into());
    }
    must_exist(file)?;
    let state = args.str("state");
    let entry = match args.filled("entry") {
        Some(entry) => entry.to_owned(),
        None => {
            let permissions = if state == "absent" { String::new() } else { format!(":{}", args.str("permissions")) };
            format!("{}:{}{permissions}", args.str("etype"), args.str("entity"))
        }
    };
    let mut options = vec![];
    if args.flag("default") {
        options.push("-d");
    }
    if args.flag("recursive") {
        options.push("-R");
    }
    let mut changed = false;
    if state != "query" {
        let verb = if state == "present" { "-m" } else { "-x" };
        // setfacl itself reports whether anything would change: `*,*` stands for "unchanged".
        let mut argv = vec!["setfacl", "--test"];
        argv.extend(&options);
        argv.extend([verb, &entry, file]);
        let output = Spawn::of(task, argv).must()?.out();
        changed = output.lines().any(|line| !line.ends_with("*,*"));
        if changed && !task.check {
            let mut argv = vec!["setfacl"];
            argv.extend(&options);
            argv.extend([verb, &entry, file]);
            Spawn::of(task, argv).must()?;
        }
    }
    let listed = Spawn::of(task, ["getfacl", "--omit-header", "--absolute-names", file]).must()?.out();
    let lines: Vec<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
    Ok(json!({"changed": changed, "msg": "", "acl": lines}).into())
}
