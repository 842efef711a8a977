//! `pamd`: rules of a PAM service (pam.conf(5)): changes them, adds one next to another, or removes them.

use serde_json::json;

use crate::modules::accounts::pamd_line::{Line, Rule, arguments_of};
use crate::modules::call::arguments::{flag, list, path, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::Edit;
use crate::modules::system::clock::moment;
use crate::modules::text::lossless;

const TYPES: &[&str] = &["account", "-account", "auth", "-auth", "password", "-password", "session", "-session"];

pub(crate) const MODULE: Module = Module {
    names: &["pamd"],
    params: &[
        text("name").must(),
        text("type").must().of(TYPES),
        text("control").must(),
        text("module_path").must(),
        text("new_type").of(TYPES),
        text("new_control"),
        text("new_module_path"),
        list("module_arguments"),
        text("state").of(&["absent", "after", "args_absent", "args_present", "before", "updated"]).or("updated"),
        path("path").or("/etc/pam.d"),
        flag("backup"),
    ],
    files: false,
    run,
};

/// The lines of a service's file.
struct Service {
    lines: Vec<Line>,
}

impl Service {
    /// Indexes of the rules that the task selects.
    fn places(&self, task: &Task<'_>) -> Vec<usize> {
        let args = &task.args;
        let (kind, control, path) = (args.str("type"), args.str("control"), args.str("module_path"));
        let fits = |line: &Line| matches!(line, Line::Rule(rule) if rule.is(kind, control, path));
        (0..self.lines.len()).filter(|at| fits(&self.lines[*at])).collect()
    }

    /// Applies `change`, which returns whether it did anything, to every selected rule; returns how many it changed.
    fn change(&mut self, task: &Task<'_>, change: impl Fn(&mut Rule) -> bool) -> usize {
        let mut changes = 0;
        for at in self.places(task) {
            if let Line::Rule(rule) = &mut self.lines[at] {
                changes += usize::from(change(rule));
            }
        }
        changes
    }

    fn update(&mut self, task: &Task<'_>) -> usize {
        let args = &task.args;
        let wanted = args.has("module_arguments").then(|| arguments_of(&args.list("module_arguments")));
        self.change(task, |rule| {
            let before = rule.clone();
            if let Some(kind) = args.filled("new_type") {
                kind.clone_into(&mut rule.kind);
            }
            if let Some(control) = args.filled("new_control") {
                rule.set_control(control);
            }
            if let Some(path) = args.filled("new_module_path") {
                path.clone_into(&mut rule.path);
            }
            if let Some(wanted) = &wanted {
                rule.arguments.clone_from(wanted);
            }
            *rule != before
        })
    }

    /// Puts the new rule before or after every selected one, unless the adjacent rule on that side is already the new one.
    fn insert(&mut self, task: &Task<'_>, after: bool) -> usize {
        let args = &task.args;
        let (kind, control, path) = (args.str("new_type"), args.str("new_control"), args.str("new_module_path"));
        let rule = Rule::new(kind, control, path, arguments_of(&args.list("module_arguments")));
        let is_passed_over = |line: &&Line| matches!(line, Line::Comment(_) | Line::Empty(_));
        let is_new = |line: Option<&Line>| matches!(line, Some(Line::Rule(rule)) if rule.is(kind, control, path));
        let mut changes = 0;
        for at in self.places(task).into_iter().rev() {
            let (before, behind) = (&self.lines[..at], &self.lines[at + 1..]);
            let neighbour = match after {
                true => behind.iter().find(|line| !is_passed_over(line)),
                false => before.iter().rev().find(|line| !is_passed_over(line)),
            };
            if is_new(neighbour) {
                continue;
            }
            // If only comments follow, the new rule becomes the last line.
            let place = match (after, neighbour) {
                (true, None) => self.lines.len(),
                (true, Some(_)) => at + 1,
                (false, _) => at,
            };
            self.lines.insert(place, Line::Rule(rule.clone()));
            changes += 1;
        }
        changes
    }

    fn add_arguments(&mut self, task: &Task<'_>) -> Result<usize, Fault> {
        let wanted = arguments_of(&task.args.list("module_arguments"));
        if wanted.iter().any(|argument| argument.starts_with('[')) {
            return Err("Unable to process bracketed '[' complex arguments with 'args_present'. Please use 'updated'.".into());
        }
        Ok(self.change(task, |rule| {
            let before = rule.arguments.clone();
            for argument in &wanted {
                let there = match argument.split_once('=') {
                    Some((key, _)) => rule.arguments.iter_mut().find(|old| old.split_once('=').is_some_and(|(old, _)| old == key)),
                    None => rule.arguments.iter_mut().find(|old| *old == argument),
                };
                match there {
                    Some(there) => there.clone_from(argument),
                    None => rule.arguments.push(argument.clone()),
                }
            }
            rule.arguments != before
        }))
    }

    fn remove_arguments(&mut self, task: &Task<'_>) -> usize {
        let unwanted = arguments_of(&task.args.list("module_arguments"));
        self.change(task, |rule| {
            let before = rule.arguments.len();
            rule.arguments.retain(|argument| !unwanted.contains(argument));
            rule.arguments.len() != before
        })
    }

    fn remove(&mut self, task: &Task<'_>) -> usize {
        let places = self.places(task);
        for at in places.iter().rev() {
            self.lines.remove(*at);
        }
        places.len()
    }

    /// The file, with Ansible's timestamp of the change as the second line.
    fn text(&self) -> String {
        const MARK: &str = "# Updated by Ansible - ";
        let now = moment(std::time::SystemTime::now(), false);
        let mark = format!("{MARK}{}T{}", now.date(), now.clock());
        let mut lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        if lines.len() <= 1 {
            lines.insert(0, String::new());
        }
        match lines.get_mut(1) {
            Some(line) if line.starts_with(MARK) => *line = mark,
            _ => lines.insert(1, mark),
        }
        lines.join("\n") + "\n"
    }
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let state = args.str("state");
    for (key, needed) in [
        ("args_present", &["module_arguments"][..]),
        ("args_absent", &["module_arguments"]),
        ("before", &["new_control", "new_type", "new_module_path"]),
        ("after", &["new_control", "new_type", "new_module_path"]),
    ] {
        args.needed_if("state", key, needed)?;
    }
    let file = args.path("path").unwrap_or_default().join(args.str("name"));
    let Some(before) = Edit::read(&file)? else {
        let why = "[Errno 2] No such file or directory";
        return Err(format!("Unable to open/read PAM module file {} with error {why}: '{}'.", file.display(), file.display()).into());
    };
    let mut service = Service { lines: Vec::new() };
    for line in lossless::decode(&before).lines() {
        service.lines.push(Line::parse(line)?);
    }
    let count = match state {
        "absent" => service.remove(task),
        "before" | "after" => service.insert(task, state == "after"),
        "args_absent" => service.remove_arguments(task),
        "args_present" => service.add_arguments(task)?,
        _ => service.update(task),
    };
    for line in &service.lines {
        line.check()?;
    }
    let mut result = serde_json::Map::new();
    let after = if count > 0 { lossless::encode(&service.text()) } else { before.clone() };
    result.extend(Edit { path: file, before: Some(before), after, msg: String::new() }.finish(task)?);
    result.remove("msg");
    let backup = result.remove("backup_file").unwrap_or_else(|| "".into());
    result.remove("backup");
    result.insert("backupdest".into(), backup);
    result.insert("change_count".into(), json!(count));
    Ok(result.into())
}

#[cfg(test)]
#[path = "pamd_tests.rs"]
mod tests;
