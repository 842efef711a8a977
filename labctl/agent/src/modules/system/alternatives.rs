//! `alternatives`: which of several programs a name stands for.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::modules::call::arguments::{int, path, raw, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["alternatives"],
    params: &[
        text("name").must(),
        path("path").must(),
        path("link"),
        int("priority"),
        text("state").of(&["absent", "auto", "present", "selected"]).or("selected"),
        raw("subcommands").aka(&["slaves"]),
        text("family"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (name, path, state) = (args.str("name"), args.str("path"), args.str("state"));
    let text = fs::read_to_string(task.root.join(format!("/var/lib/dpkg/alternatives/{name}"))).unwrap_or_default();
    let known = text.lines().any(|line| line == path);
    let auto = text.lines().next() == Some("auto");
    let selected = fs::read_link(task.root.join(format!("/etc/alternatives/{name}"))).is_ok_and(|target| target == Path::new(path));
    let changed = match state {
        "present" => !known,
        "absent" => known,
        "auto" => !known || !auto,
        _ => !known || !selected,
    };
    if changed && !task.check {
        if state == "absent" {
            Spawn::of(task, ["update-alternatives", "--remove", name, path]).must()?;
        } else {
            if !known {
                let link = args.filled("link").map(str::to_owned).or_else(|| text.lines().nth(1).map(str::to_owned));
                let link =
                    link.ok_or_else(|| Fault::from("Needed to install the alternative, but unable to do so as we are missing the link"))?;
                let priority = args.int("priority").unwrap_or(50).to_string();
                Spawn::of(task, ["update-alternatives", "--install", &link, name, path, &priority]).must()?;
            }
            match state {
                "selected" => drop(Spawn::of(task, ["update-alternatives", "--set", name, path]).must()?),
                "auto" => drop(Spawn::of(task, ["update-alternatives", "--auto", name]).must()?),
                _ => {}
            }
        }
    }
    Ok(json!({"changed": changed}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn alternatives_that_hold_cost_nothing() {
        let bench = Bench::new();
        bench.write("var/lib/dpkg/alternatives/editor", "manual\n/usr/bin/editor\n\n/usr/bin/vim\n50\n\n");
        fs::create_dir_all(bench.path("etc/alternatives")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/vim", bench.path("etc/alternatives/editor")).unwrap();
        bench.converges("alternatives", json!({"name": "editor", "path": "/usr/bin/vim"}), false);
        let auto = json!({"name": "editor", "path": "/usr/bin/vim", "state": "auto"});
        assert_eq!(bench.call("alternatives", auto, true).result["changed"], true);
    }
}
