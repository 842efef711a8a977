//! Loops: the items of a task, and merging its iterations.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::data::{Data, Dict};
use crate::event::{Event, Status};
use crate::playbook::{Loop, Task};
use crate::python;
use crate::template::{Scope, TemplateError, lookups};

use super::attempt::{clean, failure, has_failed, is};
use super::{PlayRun, keyword};

/// Ansible's messages about whole loops.
const ALL_SKIPPED: &str = "All items skipped";
const ALL_DONE: &str = "All items completed";
const SOME_FAILED: &str = "One or more items failed";

impl PlayRun {
    /// The items of a task's loop; none if it has no loop.
    fn loop_items(&self, task: &Task, scope: &Arc<Scope>) -> Option<Result<Vec<Data>, TemplateError>> {
        let bad = |message: String, undefined: bool| TemplateError { message, undefined, place: task.place.clone() };
        Some(match task.repeat.as_ref()? {
            Loop::Items(data) => match scope.resolve(data) {
                Ok(Data::List(list)) => Ok(list.to_vec()),
                Ok(other) => Err(bad(
                    format!("Invalid data passed to 'loop', it requires a list, got this instead: {}.", python::repr(&other)),
                    false,
                )),
                Err(error) => Err(error),
            },
            Loop::Lookup { name, terms } => {
                // first_found skips undefined terms; the others need all of theirs.
                let resolved = match (name.as_str(), terms) {
                    ("first_found", Data::List(list)) => Ok(Data::list(list.iter().filter_map(|term| scope.resolve(term).ok()).collect())),
                    _ => scope.resolve(terms),
                };
                let terms = match resolved {
                    Ok(Data::List(list)) => list.to_vec(),
                    Ok(Data::Null) => Vec::new(),
                    Ok(other) => vec![other],
                    Err(error) => return Some(Err(error)),
                };
                let _entered = scope.enter(&task.place);
                lookups::run_in(name, &terms, &IndexMap::new(), scope.clone()).map_err(|message| {
                    match message.strip_prefix(lookups::UNDEFINED) {
                        Some(message) => bad(message.to_owned(), true),
                        None => bad(format!("The lookup plugin '{name}' failed: {message}"), false),
                    }
                })
            }
        })
    }

    /// Runs a task on one host: once, or for each item.
    pub(super) async fn rounds(self: &Arc<Self>, task: &Arc<Task>, host: &str) -> Dict {
        let scope = self.scope(host, Some(task), Dict::new());
        match self.loop_items(task, &scope) {
            None => self.round(task, host, &mut Dict::new(), None).await,
            Some(Err(error)) => self.round(task, host, &mut Dict::new(), Some(&error)).await,
            Some(Ok(items)) if items.is_empty() => {
                let mut out = Dict::new();
                out.insert("changed".into(), Data::Bool(false));
                out.insert("skipped".into(), Data::Bool(true));
                out.insert("skipped_reason".into(), Data::str("No items in the list"));
                out.insert("results".into(), Data::list(Vec::new()));
                out
            }
            Some(Ok(items)) => match self.each(task, host, &items, &scope).await {
                Ok(result) => result,
                Err(error) => failure(error.to_string()),
            },
        }
    }

    async fn each(self: &Arc<Self>, task: &Arc<Task>, host: &str, items: &[Data], scope: &Arc<Scope>) -> Result<Dict, TemplateError> {
        let control = |name: &str| task.loop_control.as_ref().and_then(|control| control.get(name));
        let variable = keyword::text(control("loop_var"), scope)?.unwrap_or_else(|| "item".to_owned());
        let index_variable = keyword::text(control("index_var"), scope)?;
        let pause = keyword::number(control("pause"), scope, &task.place, "pause")?.unwrap_or(0.0);
        let extended = match control("extended") {
            Some(data) => keyword::truth(&scope.resolve(data)?),
            None => false,
        };
        let all_items = Data::list(items.to_vec());
        let mut results = Vec::new();
        let mut kept = Dict::new();
        let (mut changed, mut failed, mut skipped, mut unreachable) = (false, false, true, false);
        for (index, item) in items.iter().enumerate() {
            if index > 0 && pause > 0.0 {
                self.run.sleep(std::time::Duration::from_secs_f64(pause)).await;
            }
            if self.run.cancelled() {
                break;
            }
            let mut top = kept.clone();
            top.insert(Arc::from(variable.as_str()), item.clone());
            top.insert("ansible_loop_var".into(), Data::str(&variable));
            if let Some(name) = &index_variable {
                top.insert(Arc::from(name.as_str()), Data::from(index));
                top.insert("ansible_index_var".into(), Data::str(name));
            }
            if extended {
                top.insert("ansible_loop".into(), Data::map(position(items, &all_items, index)));
            }
            let before: Vec<Arc<str>> = top.keys().cloned().collect();
            let mut result = self.round(task, host, &mut top, None).await;
            kept.extend(
                top.iter()
                    .filter(|(key, _)| !before.contains(key) || kept.contains_key(*key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<Vec<_>>(),
            );
            if !is(&result, "skipped") {
                result.entry("failed".into()).or_insert(Data::Bool(false));
            }
            result.insert(Arc::from(variable.as_str()), item.clone());
            result.insert("ansible_loop_var".into(), Data::str(&variable));
            if let Some(name) = &index_variable {
                result.insert(Arc::from(name.as_str()), Data::from(index));
                result.insert("ansible_index_var".into(), Data::str(name));
            }
            if let Some(extra) = top.get("ansible_loop") {
                result.insert("ansible_loop".into(), extra.clone());
            }
            let label = match control("label") {
                Some(label) => self
                    .scope(host, Some(task), top.clone())
                    .resolve(label)
                    .map_or_else(|_| python::str_of(label), |data| python::str_of(&data)),
                None => python::str_of(item),
            };
            let status = if is(&result, "skipped") {
                Status::Skipped
            } else if is(&result, "unreachable") {
                Status::Unreachable
            } else if has_failed(&result) {
                if keyword::flag(task, "ignore_errors", scope).unwrap_or(false) { Status::Ignored } else { Status::Failed }
            } else if is(&result, "changed") {
                Status::Changed
            } else {
                Status::Ok
            };
            if !super::task::is_include(&task.action) {
                let hidden = self.hidden(task, host, &top);
                let (shown, label) = if hidden {
                    (super::task::censored(&result), "(censored due to no_log)".to_owned())
                } else {
                    (crate::data::dict_to_json(&clean(&result)), label)
                };
                self.run.emit(Event::ItemResult {
                    host: host.to_owned(),
                    task: keyword::name(task, scope),
                    status,
                    item: label,
                    result: shown,
                });
            }
            changed |= is(&result, "changed");
            failed |= is(&result, "failed");
            unreachable |= is(&result, "unreachable");
            skipped &= is(&result, "skipped");
            results.push(Data::map(result));
            if unreachable {
                break;
            }
        }
        let mut out = Dict::new();
        out.insert("changed".into(), Data::Bool(changed));
        out.insert(
            "msg".into(),
            Data::str(if failed {
                SOME_FAILED
            } else if skipped {
                ALL_SKIPPED
            } else {
                ALL_DONE
            }),
        );
        if failed {
            out.insert("failed".into(), Data::Bool(true));
        }
        if skipped {
            out.insert("skipped".into(), Data::Bool(true));
        }
        if unreachable {
            out.insert("unreachable".into(), Data::Bool(true));
        }
        out.insert("results".into(), Data::list(results));
        Ok(out)
    }
}

/// `ansible_loop` of `loop_control: {extended: true}`.
fn position(items: &[Data], all: &Data, index: usize) -> Dict {
    let count = items.len();
    let mut out = Dict::new();
    out.insert("allitems".into(), all.clone());
    out.insert("index".into(), Data::from(index + 1));
    out.insert("index0".into(), Data::from(index));
    out.insert("first".into(), Data::Bool(index == 0));
    out.insert("last".into(), Data::Bool(index + 1 == count));
    out.insert("length".into(), Data::from(count));
    out.insert("revindex".into(), Data::from(count - index));
    out.insert("revindex0".into(), Data::from(count - index - 1));
    if let Some(next) = items.get(index + 1) {
        out.insert("nextitem".into(), next.clone());
    }
    if index > 0 {
        out.insert("previtem".into(), items[index - 1].clone());
    }
    out
}
