//! `dpkg_selections`: selection states of packages, such as hold.

use serde_json::json;

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::Outcome;
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["dpkg_selections"],
    params: &[text("name").must(), text("selection").must().of(&["install", "hold", "deinstall", "purge"])],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let (name, wanted) = (task.args.str("name"), task.args.str("selection"));
    let database = crate::modules::packages::dpkg::database(task.root);
    let Some(package) = database.find(name) else {
        return Err(format!("Failed to find package '{name}' to perform selection '{wanted}'.").into());
    };
    let before = package.selection().to_owned();
    let changed = before != wanted;
    if changed && !task.check {
        Spawn::of(task, ["dpkg", "--set-selections"]).stdin(format!("{name} {wanted}\n")).must()?;
    }
    Ok(json!({"changed": changed, "before": before, "after": wanted}).into())
}
