//! `alternatives`: selects which of several programs a name refers to. Existing entries are read from the database of
//! update-alternatives(1).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::modules::call::arguments::{as_text, int, path, raw, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::system::alternatives_database::{Choice, Group, Slave};

pub(crate) const MODULE: Module = Module {
    names: &["alternatives"],
    params: &[
        text("name").must(),
        path("path"),
        path("link"),
        int("priority"),
        text("state").of(&["absent", "auto", "present", "selected"]).or("selected"),
        raw("subcommands").aka(&["slaves"]),
        text("family"),
    ],
    files: false,
    run,
};

/// The task's `subcommands`; none if it has none.
fn slaves(task: &Task<'_>) -> Result<Option<Vec<Slave>>, Fault> {
    let items = match task.args.get("subcommands") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(_) => return Err("subcommands must be a list of mappings".into()),
    };
    let field = |item: &Value, key: &str| {
        let value = item.get(key).map(as_text).filter(|value| !value.is_empty());
        value.ok_or_else(|| Fault::from(format!("missing required arguments: {key} found in subcommands")))
    };
    let slave = |item: &Value| Ok(Slave { name: field(item, "name")?, link: field(item, "link")?, path: field(item, "path")? });
    items.iter().map(slave).collect::<Result<Vec<_>, Fault>>().map(Some)
}

fn shown(slaves: &[Slave]) -> Value {
    slaves.iter().map(|slave| json!({"name": slave.name, "link": slave.link, "path": slave.path})).collect()
}

struct Work<'a> {
    task: &'a Task<'a>,
    name: &'a str,
    messages: Vec<String>,
}

impl Work<'_> {
    fn update(&mut self, words: &[&str], message: String) -> Result<(), Fault> {
        self.messages.push(message);
        if !self.task.check {
            let argv = std::iter::once("update-alternatives").chain(words.iter().copied());
            Spawn::of(self.task, argv).env("LC_ALL", "C").must()?;
        }
        Ok(())
    }

    fn install(&mut self, path: &str, group: &Group, wanted: Option<&[Slave]>) -> Result<Value, Fault> {
        let args = &self.task.args;
        let known = group.choices.iter().find(|choice| choice.path == path);
        let may_come = self.task.check && known.is_none();
        if !may_come && !self.task.root.join(path).exists() {
            return Err(format!("Specified path {path} does not exist").into());
        }
        let link = args.filled("link").or(Some(group.link.as_str()).filter(|link| !link.is_empty()));
        let link = link.ok_or("Needed to install the alternative, but unable to do so as we are missing the link")?;
        let priority = args.int("priority").or(known.map(|choice| choice.priority)).unwrap_or(50);
        let number = priority.to_string();
        let mut words = vec!["--install", link, self.name, path, &number];
        if let Some(family) = args.filled("family") {
            words.extend(["--family", family]);
        }
        let slaves = wanted.or(known.map(|choice| &choice.slaves[..])).unwrap_or_default();
        for slave in slaves {
            words.extend(["--slave", &slave.link, &slave.name, &slave.path]);
        }
        self.update(&words, format!("Install alternative '{path}' for '{}'.", self.name))?;
        let mut after = json!({"state": "present", "path": path, "family": args.text("family"), "priority": priority, "link": link});
        if !slaves.is_empty() {
            after["subcommands"] = shown(slaves);
        }
        Ok(after)
    }
}

fn differs(task: &Task<'_>, known: Option<&Choice>, wanted: Option<&[Slave]>) -> bool {
    let Some(known) = known else { return true };
    let priority = task.args.int("priority").is_some_and(|priority| priority != known.priority);
    let slaves =
        wanted.is_some_and(|wanted| wanted.len() != known.slaves.len() || wanted.iter().any(|slave| !known.slaves.contains(slave)));
    priority || slaves
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["path", "family"])?;
    let (name, state) = (args.str("name"), args.str("state"));
    if name.is_empty() || name.contains('/') {
        return Err(format!("not a valid name of an alternative: '{name}'").into());
    }
    let (path, family) = (args.filled("path"), args.filled("family"));
    let group = Group::read(task.root, name);
    let current = fs::read_link(task.root.join(format!("/etc/alternatives/{name}"))).ok();
    let is_current = |choice: &str| current.as_deref() == Some(Path::new(choice));
    let known = path.and_then(|path| group.choices.iter().find(|choice| choice.path == path));
    let before = match known {
        None => json!({"state": "absent"}),
        Some(choice) => {
            let state = if !group.auto && !is_current(&choice.path) { "selected" } else { "present" };
            let mut before = json!({"state": state, "path": choice.path, "priority": choice.priority, "link": group.link});
            if !choice.slaves.is_empty() {
                before["subcommands"] = shown(&choice.slaves);
            }
            before
        }
    };
    let mut after = json!({});
    let mut work = Work { task, name, messages: Vec::new() };
    if state == "absent" {
        if let (Some(path), Some(_)) = (path, known) {
            work.update(&["--remove", name, path], format!("Remove alternative '{path}' from '{name}'."))?;
            after = json!({"state": "absent"});
        }
    } else {
        let wanted = slaves(task)?;
        if let Some(path) = path.filter(|_| differs(task, known, wanted.as_deref())) {
            after = work.install(path, &group, wanted.as_deref())?;
        }
        let same_family =
            family.is_some() && group.choices.iter().any(|choice| is_current(&choice.path) && choice.family.as_deref() == family);
        if state == "selected" && !path.is_some_and(is_current) && !same_family {
            let choice = path.or(family).unwrap_or_default();
            work.update(&["--set", name, choice], format!("Set alternative '{choice}' for '{name}'."))?;
            after["state"] = "selected".into();
        }
        if state == "auto" && group.is_known && !group.auto {
            work.update(&["--auto", name], format!("Set alternative to auto for '{name}'."))?;
            after["state"] = "present".into();
        }
    }
    let changed = !work.messages.is_empty();
    let mut result = json!({"changed": changed, "msg": work.messages.join(" ")});
    if task.diff {
        result["diff"] = json!({"before": before, "after": if changed { after } else { before.clone() }});
    }
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    const DATABASE: &str = "manual\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n\
        /usr/bin/nano\n40\n/usr/share/man/man1/nano.1.gz\n/usr/bin/vim\n50\n\n\n";

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("var/lib/dpkg/alternatives/editor", DATABASE);
        for program in ["nano", "vim", "new"] {
            bench.write(&format!("usr/bin/{program}"), "");
        }
        std::fs::create_dir_all(bench.path("etc/alternatives")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/vim", bench.path("etc/alternatives/editor")).unwrap();
        bench.program("update-alternatives", "echo \"$*\" >> $NOTES");
        bench
    }

    #[test]
    fn what_holds_costs_nothing() {
        let bench = bench();
        for args in [
            json!({"name": "editor", "path": "/usr/bin/vim"}),
            json!({"name": "editor", "path": "/usr/bin/vim", "priority": 50, "state": "present", "subcommands": []}),
            json!({"name": "editor", "path": "/usr/bin/emacs", "state": "absent"}),
            json!({"name": "editor", "path": "/usr/bin/nano", "state": "present", "subcommands": [
                {"name": "editor.1.gz", "link": "/usr/share/man/man1/editor.1.gz", "path": "/usr/share/man/man1/nano.1.gz"}]}),
        ] {
            bench.converges("community.general.alternatives", args, false);
        }
        assert!(bench.notes().is_empty());
    }

    #[test]
    fn choices_are_made_installed_and_removed() {
        let bench = bench();
        let run = |args| {
            bench.forget_notes();
            let result = bench.run("alternatives", args);
            (result["changed"].as_bool().unwrap(), bench.notes().join("; "))
        };
        assert_eq!(run(json!({"name": "editor", "path": "/usr/bin/nano"})), (true, "--set editor /usr/bin/nano".into()));
        assert_eq!(
            run(json!({"name": "editor", "path": "/usr/bin/new"})),
            (true, "--install /usr/bin/editor editor /usr/bin/new 50; --set editor /usr/bin/new".into())
        );
        let args = json!({"name": "editor", "path": "/usr/bin/nano", "priority": 60, "state": "auto"});
        let slave = "--slave /usr/share/man/man1/editor.1.gz editor.1.gz /usr/share/man/man1/nano.1.gz";
        assert_eq!(run(args), (true, format!("--install /usr/bin/editor editor /usr/bin/nano 60 {slave}; --auto editor")));
        assert_eq!(
            run(json!({"name": "editor", "path": "/usr/bin/vim", "state": "absent"})),
            (true, "--remove editor /usr/bin/vim".into())
        );
        assert!(bench.fault("alternatives", json!({"name": "java", "path": "/usr/bin/new"})).contains("missing the link"));
        assert_eq!(bench.fault("alternatives", json!({"name": "x", "path": "/nope", "link": "/x"})), "Specified path /nope does not exist");
        assert!(bench.fault("alternatives", json!({"name": "x"})).contains("path, family"));
    }
}
