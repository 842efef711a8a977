//! `debconf`: answers to package configuration questions.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

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

/// Questions owned by a package in debconf's own database, and their answers.
fn answers(task: &Task<'_>, package: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in ["config.dat", "passwords.dat"] {
        let text = fs::read_to_string(task.root.join(format!("/var/cache/debconf/{file}"))).unwrap_or_default();
        for block in text.split("\n\n") {
            let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
            let owned = field("Owners").is_some_and(|owners| owners.split(", ").any(|owner| owner == package));
            if let Some(name) = field("Name").filter(|_| owned) {
                found.insert(name.to_owned(), field("Value").unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// The choices of a multiselect, in order.
fn choices(value: &str) -> Vec<&str> {
    let mut choices: Vec<&str> = value.split(',').map(str::trim).collect();
    choices.sort_unstable();
    choices
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (name, question) = (args.str("name"), args.str("question"));
    let mut known = answers(task, name);
    if question.is_empty() {
        return Ok(json!({"changed": false, "msg": "", "current": known}).into());
    }
    let (Some(kind), Some(value)) = (args.filled("vtype"), args.get("value")) else {
        return Err("when supplying a question you must supply a valid vtype and value".into());
    };
    let listed = value.is_array();
    let mut value = match value {
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(", "),
        other => as_text(other),
    };
    if kind == "boolean" {
        value = value.to_lowercase();
    }
    let changed = match known.get(question) {
        Some(old) if kind == "multiselect" && listed => choices(old) != choices(&value),
        Some(old) => *old != value,
        None => true,
    };
    if !changed {
        return Ok(json!({"changed": false, "msg": "", "current": known}).into());
    }
    if !task.check {
        let mut argv = vec!["debconf-set-selections"];
        if args.flag("unseen") {
            argv.push("-u");
        }
        Spawn::of(task, argv).stdin(format!("{name} {question} {kind} {value}\n")).must()?;
    }
    // If the question is new, the result lists all answers that the package had.
    match known.get(question) {
        Some(_) => known.retain(|name, _| name == question),
        None => drop(known.insert(question.to_owned(), String::new())),
    }
    let mut result = json!({"changed": true, "msg": "", "current": {question: value}, "previous": known});
    if task.diff && kind != "password" {
        let mut after = known;
        after.insert(question.to_owned(), value);
        result["diff"] = json!({"before": result["previous"], "after": after});
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
        bench.write("var/cache/debconf/passwords.dat", "Name: a/p\nTemplate: a/p\nValue: x\nOwners: b, a\n\n");
        assert_eq!(bench.run("debconf", json!({"name": "a"}))["current"], json!({"a/b": "true", "a/p": "x"}));
        let shared = json!({"name": "c", "question": "a/b", "vtype": "boolean", "value": true});
        assert_eq!(bench.call("debconf", shared, true).result["changed"], true, "another package's question");
        bench.write("var/lib/dpkg/status", "Package: a\nStatus: hold ok installed\nVersion: 1\n");
        bench.converges("dpkg_selections", json!({"name": "a", "selection": "hold"}), false);
        assert_eq!(bench.call("dpkg_selections", json!({"name": "a", "selection": "install"}), true).result["changed"], true);
    }
}
