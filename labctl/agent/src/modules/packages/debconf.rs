//! `debconf`: answers to the questions of packages.

use std::fs;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{as_text, flag, raw, text};
use crate::modules::call::outcome::Outcome;
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["debconf"],
    params: &[
        text("name").must().aka(&["pkg"]),
        text("question").aka(&["selection", "setting"]),
        text("vtype").of(&["boolean", "error", "multiselect", "note", "password", "seen", "select", "string", "text", "title"]),
        raw("value").aka(&["answer"]),
        flag("unseen"),
    ],
    files: false,
    run,
};

/// The value of a question in debconf's own database.
fn answer(task: &Task<'_>, question: &str) -> Option<(String, bool)> {
    ["config.dat", "passwords.dat"].iter().find_map(|file| {
        let text = fs::read_to_string(task.root.join(format!("/var/cache/debconf/{file}"))).ok()?;
        text.split("\n\n").find_map(|block| {
            let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            (field("Name")? == question)
                .then(|| (field("Value").unwrap_or_default().to_owned(), field("Flags").is_some_and(|f| f.contains("seen"))))
        })
    })
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (name, question) = (args.str("name"), args.str("question"));
    if question.is_empty() {
        return Ok(json!({"changed": false, "msg": ""}).into());
    }
    let (Some(kind), Some(value)) = (args.filled("vtype"), args.get("value")) else {
        return Err("when supplying a question you must supply a valid vtype and value".into());
    };
    let mut value = match value {
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(", "),
        other => as_text(other),
    };
    if kind == "boolean" {
        value = value.to_lowercase();
    }
    let current = answer(task, question);
    let changed = current.as_ref().is_none_or(|(old, _)| *old != value);
    if changed && !task.check {
        let mut argv = vec!["debconf-set-selections"];
        if args.flag("unseen") {
            argv.push("-u");
        }
        Spawn::of(task, argv).stdin(format!("{name} {question} {kind} {value}\n")).must()?;
    }
    let mut all = Map::new();
    all.insert(question.to_owned(), value.clone().into());
    let mut before = Map::new();
    before.insert(question.to_owned(), current.map_or(Value::Null, |(old, _)| old.into()));
    let mut result = json!({"changed": changed, "msg": "", "current": all, "previous": before});
    if task.diff && kind != "password" {
        result["diff"] = json!({"before": result["previous"], "after": result["current"]});
    }
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn answers_and_selections_that_hold_cost_nothing() {
        let bench = Bench::new();
        bench.write("var/cache/debconf/config.dat", "Name: a/b\nTemplate: a/b\nValue: true\nOwners: a\nFlags: seen\n\n");
        bench.converges("debconf", json!({"name": "a", "question": "a/b", "vtype": "boolean", "value": true}), false);
        bench.write("var/lib/dpkg/status", "Package: a\nStatus: hold ok installed\nVersion: 1\n");
        bench.converges("dpkg_selections", json!({"name": "a", "selection": "hold"}), false);
        assert_eq!(bench.call("dpkg_selections", json!({"name": "a", "selection": "install"}), true).result["changed"], true);
    }
}
