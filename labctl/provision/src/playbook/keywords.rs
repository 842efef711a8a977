//! Keywords shared by plays, roles, blocks and tasks, and how they are inherited.

use std::collections::HashMap;
use std::sync::Arc;

use labctl_spec::yaml::Node;

use super::Source;
use crate::data::{Data, Dict, Place};
use crate::yaml;

/// A bare expression.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// Text to evaluate.
    Expression(Arc<str>, Place),
    /// A literal value: `when: false`.
    Value(Data),
}

/// Keywords whose innermost value applies.
const NEAREST: &[&str] = &[
    "become",
    "become_user",
    "become_method",
    "become_flags",
    "become_exe",
    "ignore_errors",
    "ignore_unreachable",
    "no_log",
    "check_mode",
    "diff",
    "run_once",
    "delegate_to",
    "delegate_facts",
    "any_errors_fatal",
    "throttle",
    "timeout",
    "remote_user",
    "connection",
    "port",
    "debugger",
    "module_defaults",
    "collections",
];

/// Keywords that only tasks have.
pub(crate) const TASK_ONLY: &[&str] = &[
    "name",
    "action",
    "local_action",
    "args",
    "loop",
    "loop_control",
    "register",
    "changed_when",
    "failed_when",
    "until",
    "retries",
    "delay",
    "async",
    "poll",
    "listen",
    "notify",
    "when",
    "tags",
    "vars",
    "environment",
    "block",
    "rescue",
    "always",
    "first_available_file",
];

/// The keywords of tasks and blocks.
pub(crate) fn keywords() -> impl Iterator<Item = &'static str> {
    NEAREST.iter().chain(TASK_ONLY).copied()
}

/// Whether a key of a task is a keyword and not a module.
pub(crate) fn is_keyword(key: &str) -> bool {
    keywords().any(|keyword| keyword == key)
}

/// Whether a key of a role's entry is a keyword and not a parameter.
pub(crate) fn is_role_keyword(key: &str) -> bool {
    NEAREST.contains(&key) || matches!(key, "role" | "name" | "src" | "tags" | "when" | "vars" | "environment")
}

/// Keywords including everything inherited.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keywords {
    nearest: HashMap<&'static str, Data>,
    /// Conditions, outermost first.
    pub when: Vec<Condition>,
    /// Tags, unordered.
    pub tags: Vec<Data>,
    /// Variables of blocks and of the task, innermost last.
    pub vars: Vec<Arc<Dict>>,
    /// Variables of the enclosing includes and imports, innermost last.
    pub include_vars: Vec<Arc<Dict>>,
    /// Environments, innermost last.
    pub environment: Vec<Data>,
    /// Names of handlers.
    pub notify: Vec<Data>,
}

impl Keywords {
    pub(crate) fn get(&self, name: &str) -> Option<&Data> {
        self.nearest.get(name)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: Data) {
        self.nearest.insert(name, value);
    }

    /// Adds the keywords of a node to the inherited ones.
    pub(crate) fn extend(&mut self, node: &Node, source: &Source) {
        let data = |key: &str| node.get(key).map(|value| yaml::data(value, &source.file, true));
        for &name in NEAREST {
            if let Some(value) = data(name) {
                self.nearest.insert(name, value);
            }
        }
        if let Some(value) = node.get("when") {
            self.when.extend(conditions(value, source));
        }
        if let Some(value) = data("tags") {
            self.tags.extend(listed(value));
        }
        if let Some(Data::Map(vars)) = data("vars") {
            self.vars.push(vars);
        }
        if let Some(Data::List(list)) = data("vars") {
            self.vars.extend(list.iter().filter_map(Data::as_map).cloned());
        }
        if let Some(value) = data("environment") {
            match value {
                Data::List(list) => self.environment.extend(list.iter().cloned()),
                other => self.environment.push(other),
            }
        }
        if let Some(value) = data("notify") {
            self.notify.extend(list_of(value));
        }
    }
}

/// A list, or text with names separated by commas.
pub(crate) fn listed(value: Data) -> Vec<Data> {
    list_of(value)
        .into_iter()
        .flat_map(|item| match item {
            Data::Str(text) if text.contains(',') => text.split(',').map(|tag| Data::str(tag.trim())).collect(),
            other => vec![other],
        })
        .collect()
}

/// A list; a single value becomes a list of one.
pub(crate) fn list_of(value: Data) -> Vec<Data> {
    match value {
        Data::List(list) => list.to_vec(),
        Data::Null => Vec::new(),
        other => vec![other],
    }
}

/// Conditions at a node: one or a list.
pub(crate) fn conditions(node: &Node, source: &Source) -> Vec<Condition> {
    let one = |node: &Node| {
        let place = Place { file: source.file.clone(), line: node.span.line };
        match yaml::data(node, &source.file, false) {
            Data::Str(text) => Condition::Expression(text, place),
            other => Condition::Value(other),
        }
    };
    match node.as_seq() {
        Some(items) => items.iter().map(one).collect(),
        None => vec![one(node)],
    }
}

impl Keywords {
    /// Adds the keywords in `apply` of an include.
    pub(crate) fn apply(&mut self, apply: &Dict, place: &Place) {
        for (key, value) in apply {
            match &**key {
                "tags" => self.tags.extend(listed(value.clone())),
                "vars" => self.vars.extend(value.as_map().cloned()),
                "environment" => self.environment.push(value.clone()),
                "notify" => self.notify.extend(list_of(value.clone())),
                "when" => self.when.extend(list_of(value.clone()).into_iter().map(|item| match item {
                    Data::Str(text) => Condition::Expression(text, place.clone()),
                    other => Condition::Value(other),
                })),
                name => {
                    if let Some(&known) = NEAREST.iter().find(|known| **known == name) {
                        self.nearest.insert(known, value.clone());
                    }
                }
            }
        }
    }
}
