//! Lists what a run would do, without doing it.

use std::sync::Arc;

use crate::data::Dict;
use crate::error::PlaybookError;
use crate::playbook::{Item, Play};
use crate::python;
use crate::run::action::supported;
use crate::template::Scope;

use super::{Book, Options, Run, Setup, keyword, tags};
use crate::lock::lock;

/// A task of a playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTask {
    /// Name of its play.
    pub play: String,
    /// Pattern of the play's hosts.
    pub hosts: String,
    /// Its name, including its role's.
    pub name: String,
    /// Its tags, including inherited ones, sorted.
    pub tags: Vec<String>,
    /// `file:line`.
    pub place: String,
    /// A message with similar modules if its module is not supported: the task fails if it runs.
    pub unsupported: Option<String>,
}

/// The tasks selected by the options, in order; dynamic includes are not resolved.
///
/// # Errors
/// As [`run`](super::run).
pub fn list_tasks(books: &[Book], setup: Setup, options: Options) -> Result<Vec<ListedTask>, PlaybookError> {
    let run = Run::new(setup, options)?;
    let mut out = Vec::new();
    for (_, plays) in run.load(books)? {
        for play in &plays {
            let groups = lock(&run.inventory).group_map();
            let common =
                crate::variables::common(&groups, &[], &[], &play.folder, run.options.check, run.options.diff, run.options.verbosity);
            let layers = vec![run.extra.clone(), play.vars.clone(), Arc::new(common)];
            let scope = Scope::new(run.engine.clone(), layers, vec![play.folder.clone()]);
            for list in [&play.pre_tasks, &play.role_tasks, &play.tasks, &play.post_tasks] {
                collect(&run, play, list, &scope, &mut out);
            }
        }
    }
    Ok(out)
}

/// The plays and the hosts that each would run on.
///
/// # Errors
/// As [`run`](super::run).
pub fn list_hosts(books: &[Book], setup: Setup, options: Options) -> Result<Vec<(String, Vec<String>)>, PlaybookError> {
    let run = Run::new(setup, options)?;
    let mut out = Vec::new();
    for (_, plays) in run.load(books)? {
        for play in &plays {
            let groups = lock(&run.inventory).group_map();
            let common = crate::variables::common(&groups, &[], &[], &play.folder, false, false, 0);
            let layers = vec![run.extra.clone(), play.vars.clone(), Arc::new(common)];
            let scope = Scope::new(run.engine.clone(), layers, vec![play.folder.clone()]);
            let name = play.name.as_ref().map_or_else(|| python::str_of(&play.hosts), python::str_of);
            out.push((name, super::hosts::hosts_of(&run, play, &scope)?.0));
        }
    }
    Ok(out)
}

fn collect(run: &Run, play: &Play, items: &[Item], scope: &Arc<Scope>, out: &mut Vec<ListedTask>) {
    for item in items {
        match item {
            Item::Task(task) => {
                if &*task.action == "meta" || !tags::wanted(&task.keywords, &run.options, scope) {
                    continue;
                }
                let scope = scope.with(Dict::new());
                let mut names: Vec<String> = task
                    .keywords
                    .tags
                    .iter()
                    .map(|tag| scope.resolve(tag).map_or_else(|_| python::str_of(tag), |tag| python::str_of(&tag)))
                    .collect();
                names.sort();
                names.dedup();
                out.push(ListedTask {
                    play: play.name.as_ref().map_or_else(|| python::str_of(&play.hosts), python::str_of),
                    hosts: python::str_of(&play.hosts),
                    name: keyword::name(task, &scope),
                    tags: names,
                    place: task.place.to_string(),
                    unsupported: supported::lacking(&task.action, &task.place),
                });
            }
            Item::Block(block) => {
                for list in [&block.block, &block.rescue, &block.always] {
                    collect(run, play, list, scope, out);
                }
            }
            Item::Role(_, tasks) => collect(run, play, tasks, scope, out),
        }
    }
}
