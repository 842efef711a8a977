//! `locale_gen`: locales.

use std::fs;

use serde_json::json;

use crate::modules::call::arguments::{list, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};

pub(crate) const MODULE: Module = Module {
    names: &["locale_gen"],
    params: &[list("name").must(), text("state").of(&["absent", "present"]).or("present")],
    files: false,
    run,
};

fn normal(name: &str) -> String {
    name.to_lowercase().replace('-', "")
}

fn run(task: &Task<'_>) -> Outcome {
    let names = task.args.list("name");
    let present = task.args.str("state") == "present";
    let supported = fs::read_to_string(task.root.join("/usr/share/i18n/SUPPORTED")).unwrap_or_default();
    let file = task.root.join("/etc/locale.gen");
    let before = Edit::read(&file)?;
    if before.is_none() && !task.check {
        return Err("/etc/locale.gen is missing: is the package locales installed?".into());
    }
    let text = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut lines = lines_of(&text);
    for name in &names {
        let entry = |line: &str| line.trim_start_matches(['#', ' ']).split_whitespace().next().map(normal) == Some(normal(name));
        let listed = supported.lines().find(|line| entry(line));
        let there = lines.iter().position(|line| entry(line));
        match (there, listed, present) {
            (Some(at), _, true) => lines[at] = lines[at].trim_start_matches(['#', ' ']).to_owned(),
            (Some(at), _, false) if !lines[at].starts_with('#') => lines[at].insert_str(0, "# "),
            (None, Some(listed), true) => lines.push(format!("{listed}\n")),
            (None, None, true) if !supported.is_empty() => {
                return Err(Fault::from(format!("The following locales you have entered are not available on your system: {name}")));
            }
            (None, None, true) => lines.push(format!("{name} UTF-8\n")),
            _ => {}
        }
    }
    let changed = lines.concat() != text || before.is_none();
    if changed && !task.check {
        Edit { path: file, before, after: lines.concat().into_bytes(), msg: String::new() }.finish(task)?;
        Spawn::of(task, ["locale-gen"]).must()?;
    }
    Ok(json!({"changed": changed, "name": names}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn locales_that_are_there_cost_nothing() {
        let bench = Bench::new();
        bench.write("etc/locale.gen", "# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n");
        bench.converges("locale_gen", json!({"name": "en_US.UTF-8"}), false);
        assert_eq!(bench.call("locale_gen", json!({"name": "de_DE.utf8"}), true).result["changed"], true);
    }
}
