//! Reads a list of tasks.

use std::sync::Arc;

use labctl_spec::mistake::Mistake;
use labctl_spec::yaml::Node;

use super::keywords::{conditions, is_keyword, keywords, list_of};
use super::load::{Context, fault, spelling_hint};
use super::names::short_name;
use super::{Block, Item, Loader, Loop, Source, Task, args};
use crate::data::{Data, Dict, Place};
use crate::template::lookups;
use crate::yaml;

impl Loader {
    /// Reads a list of tasks and blocks; static imports are expanded in place.
    pub(crate) fn tasks(&self, node: &Node, source: &Source, context: &Context) -> Result<Vec<Item>, Mistake> {
        if node.is_null() {
            return Ok(Vec::new());
        }
        let items = node.as_seq().ok_or_else(|| fault(source, node, "expected a list of tasks", None))?;
        let mut out = Vec::new();
        for item in items {
            if item.is_null() {
                continue;
            }
            match self.item(item, source, context, &mut out) {
                // Mistakes in files that are read before anything runs are all reported at once.
                Err(fault) if !context.dynamic => self.note(fault),
                other => other?,
            }
        }
        Ok(out)
    }

    fn item(&self, item: &Node, source: &Source, context: &Context, out: &mut Vec<Item>) -> Result<(), Mistake> {
        if item.as_map().is_none() {
            return Err(fault(source, item, "a task must be a mapping", Some("write `- name: ...` and the module below it")));
        }
        if item.get("block").is_none() {
            return self.task(item, source, context, out);
        }
        out.push(Item::Block(Arc::new(self.block(item, source, context)?)));
        Ok(())
    }

    fn block(&self, node: &Node, source: &Source, context: &Context) -> Result<Block, Mistake> {
        if let Some(entry) =
            node.as_map().into_iter().flat_map(|map| &map.entries).find(|entry| !entry.key.as_str().is_some_and(is_keyword))
        {
            let name = entry.key.as_str().unwrap_or_default();
            let hint = spelling_hint(name, keywords());
            return Err(fault(source, &entry.key, &format!("'{name}' is not a valid attribute for a Block"), hint.as_deref()));
        }
        let inner = context.with(node, source);
        let part = |name: &str| node.get(name).map_or(Ok(Vec::new()), |list| self.tasks(list, source, &inner));
        Ok(Block { keywords: inner.keywords.clone(), block: part("block")?, rescue: part("rescue")?, always: part("always")? })
    }

    fn task(&self, node: &Node, source: &Source, context: &Context, out: &mut Vec<Item>) -> Result<(), Mistake> {
        let place = Place { file: source.file.clone(), line: node.span.line };
        let mut inner = context.with(node, source);
        let (name, mut arguments) = self.action(node, source, &mut inner)?;
        let action: Arc<str> = Arc::from(short_name(&name));
        if let Some(extra) = node.get("args").map(|args| yaml::data(args, &source.file, true)) {
            // Arguments given with the module override `args`.
            match extra {
                Data::Map(extra) => {
                    let mut merged = (*extra).clone();
                    merged.extend(arguments);
                    arguments = merged;
                }
                other => {
                    arguments.insert("_variable_params".into(), other);
                }
            }
        }
        if let Some(default) = inner.keywords.get("module_defaults").and_then(|all| defaults_of(all, &action)).and_then(Data::as_map) {
            let mut merged = (**default).clone();
            merged.extend(arguments);
            arguments = merged;
        }
        let data = |key: &str| node.get(key).map(|value| yaml::data(value, &source.file, true));
        let list = |key: &str| data(key).map_or_else(Vec::new, list_of);
        let conditional = |key: &str| node.get(key).map(|value| conditions(value, source));
        let task = Task {
            name: data("name").filter(|name| !matches!(name, Data::Null)),
            action: action.clone(),
            written: Arc::from(name.as_str()),
            args: Data::map(arguments),
            repeat: repeat(node, source)?,
            loop_control: data("loop_control"),
            register: data("register"),
            changed_when: conditional("changed_when"),
            failed_when: conditional("failed_when"),
            until: conditional("until").unwrap_or_default(),
            retries: data("retries"),
            delay: data("delay"),
            asynchronous: data("async"),
            listen: list("listen"),
            role: context.role.clone(),
            place,
            folder: source.path.parent().map(std::path::Path::to_path_buf).unwrap_or_default(),
            is_handler: context.handlers,
            outer: Arc::new(context.keywords.clone()),
            keywords: inner.keywords.clone(),
        };
        match &*action {
            "import_tasks" => self.import_tasks(&task, node, source, &inner, out),
            "import_role" => self.import_role(&task, node, source, &inner, out),
            _ => {
                out.push(Item::Task(Arc::new(task)));
                Ok(())
            }
        }
    }

    /// The module and its arguments.
    fn action(&self, node: &Node, source: &Source, inner: &mut Context) -> Result<(String, Dict), Mistake> {
        let place = |node: &Node| Place { file: source.file.clone(), line: node.span.line };
        let map = node.as_map().ok_or_else(|| fault(source, node, "a task must be a mapping", None))?;
        let mut found: Option<(String, &Node)> = None;
        for entry in &map.entries {
            let key = entry.key.as_str().unwrap_or_default();
            if is_keyword(key) || key.starts_with("with_") {
                continue;
            }
            if let Some((other, _)) = &found {
                let reason = format!("conflicting action statements: {other}, {key}");
                let hint = spelling_hint(key, keywords()).or_else(|| spelling_hint(other, keywords()));
                let hint = hint.as_deref().unwrap_or("a task has one module; check the spelling and the indentation of its keywords");
                return Err(fault(source, &entry.key, &reason, Some(hint)));
            }
            found = Some((key.to_owned(), &entry.value));
        }
        for keyword in ["action", "local_action"] {
            let Some(value) = node.get(keyword) else {
                continue;
            };
            if found.is_some() {
                return Err(fault(source, value, &format!("conflicting action statements: {keyword} and a module"), None));
            }
            if keyword == "local_action" {
                inner.keywords.set("delegate_to", Data::str("localhost"));
            }
            return match yaml::data(value, &source.file, true) {
                Data::Map(map) => {
                    let mut arguments = (*map).clone();
                    let module = arguments.shift_remove("module").and_then(|name| name.as_str().map(str::to_owned));
                    let module = module.ok_or_else(|| fault(source, value, "no module/action detected in task.", None))?;
                    Ok((module, arguments))
                }
                text => {
                    let text = text.as_str().unwrap_or_default().to_owned();
                    let (module, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
                    Ok((module.to_owned(), args::parse(short_name(module), rest, &place(value))))
                }
            };
        }
        let Some((name, value)) = found else {
            return Err(fault(
                source,
                node,
                "no module/action detected in task.",
                Some("name the module, such as `ansible.builtin.copy:`"),
            ));
        };
        let arguments = match yaml::data(value, &source.file, true) {
            Data::Map(map) => (*map).clone(),
            Data::Null => Dict::new(),
            Data::Str(text) => args::parse(short_name(&name), &text, &place(value)),
            Data::Tpl(tpl) => args::parse(short_name(&name), &tpl.source, &place(value)),
            Data::List(list) if matches!(short_name(&name), "command" | "shell") => {
                [("argv".into(), Data::List(list))].into_iter().collect()
            }
            other => {
                let reason = format!("unexpected parameter type in action: {}", other.type_name());
                return Err(fault(source, value, &reason, None));
            }
        };
        Ok((name, arguments))
    }
}

/// The `module_defaults` of a module, by any of its names.
fn defaults_of<'a>(all: &'a Data, action: &str) -> Option<&'a Data> {
    all.as_map()?.iter().find(|(name, _)| short_name(name) == action).map(|(_, defaults)| defaults)
}

fn repeat(node: &Node, source: &Source) -> Result<Option<Loop>, Mistake> {
    let mut found = None;
    for entry in node.as_map().into_iter().flat_map(|map| &map.entries) {
        let key = entry.key.as_str().unwrap_or_default();
        let data = || yaml::data(&entry.value, &source.file, true);
        let next = if key == "loop" {
            Loop::Items(data())
        } else if let Some(name) = key.strip_prefix("with_") {
            if !lookups::exists(name) {
                return Err(fault(source, &entry.key, &format!("'{name}' is not a valid lookup for with_{name}"), None));
            }
            Loop::Lookup { name: name.to_owned(), terms: data() }
        } else {
            continue;
        };
        if found.is_some() {
            return Err(fault(source, &entry.key, "duplicate loop in task", None));
        }
        found = Some(next);
    }
    Ok(found)
}
