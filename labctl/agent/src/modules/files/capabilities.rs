//! `capabilities`: what a program may do beyond its user.

use std::path::Path;

use serde_json::json;

use crate::modules::call::arguments::{path, text};
use crate::modules::call::outcome::{Fault, Outcome, must_exist};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["capabilities"],
    params: &[
        path("path").must().aka(&["key"]),
        text("capability").must().aka(&["cap"]),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run,
};

/// A clause such as `cap_net_bind_service+ep` as name and the rest.
fn clause(text: &str) -> Option<(String, String)> {
    let at = text.find(['+', '=', '-'])?;
    Some((text[..at].to_lowercase(), text[at..].to_owned()))
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    let (name, flags) = clause(args.str("capability")).ok_or_else(|| Fault::from("Couldn't find operator (one of: '=', '-', '+')"))?;
    if !Path::new(file).exists() && task.check {
        return Ok(json!({"changed": true}).into());
    }
    must_exist(file)?;
    let output = Spawn::of(task, ["getcap", file]).must()?.out();
    let said = output.trim().strip_prefix(file).unwrap_or_default().trim().trim_start_matches("= ").to_owned();
    let mut have: Vec<(Vec<String>, String)> = Vec::new();
    for part in said.split_whitespace() {
        if let Some((names, flags)) = clause(part) {
            have.push((names.split(',').map(str::to_owned).collect(), flags.replace('+', "=")));
        }
    }
    let equal = flags.replace('+', "=");
    let sorted = |flags: &str| {
        let mut letters: Vec<char> = flags.chars().collect();
        letters.sort_unstable();
        letters
    };
    let there =
        have.iter().any(|(names, flags)| names.contains(&name) && (args.str("state") == "absent" || sorted(flags) == sorted(&equal)));
    let present = args.str("state") == "present";
    let changed = there != present;
    if changed && !task.check {
        for (names, _) in &mut have {
            names.retain(|other| *other != name);
        }
        let mut words: Vec<String> =
            have.iter().filter(|(names, _)| !names.is_empty()).map(|(names, flags)| format!("{}{flags}", names.join(","))).collect();
        if present {
            words.push(format!("{name}{flags}"));
        }
        if words.is_empty() {
            Spawn::of(task, ["setcap", "-r", file]).must()?;
        } else {
            Spawn::of(task, ["setcap", &words.join(" "), file]).must()?;
        }
    }
    Ok(json!({"changed": changed, "state": args.str("state"), "msg": if changed { "capabilities changed" } else { "" }}).into())
}
