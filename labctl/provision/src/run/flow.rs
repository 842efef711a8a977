//! Runs lists of tasks: order, blocks with rescue and always, roles, includes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::data::{Data, Dict};
use crate::error::PlaybookError;
use crate::event::{Event, Status};
use crate::playbook::{Block, Item, Keywords, RoleRequest, Task};
use crate::python;

use super::attempt::{failure, is};
use super::task::Results;
use super::{PlayRun, keyword};
use crate::lock::lock;

type Failed = Result<HashSet<String>, PlaybookError>;

/// Tasks to include: the same file with the same variables for several hosts.
struct Included {
    what: String,
    vars: Dict,
    args: Data,
    hosts: Vec<String>,
}

impl PlayRun {
    /// Hosts that are still active.
    pub(super) fn active(&self, hosts: &[String], failed: &HashSet<String>) -> Vec<String> {
        let unreachable = lock(&self.unreachable);
        let ended = lock(&self.ended);
        hosts.iter().filter(|host| !failed.contains(*host) && !unreachable.contains(*host) && !ended.contains(*host)).cloned().collect()
    }

    /// Without the hosts for which `meta: end_role` ended the task's role.
    fn still_in_role(&self, task: &Task, hosts: Vec<String>) -> Vec<String> {
        let Some(role) = &task.role else { return hosts };
        let ended = lock(&self.ended_roles);
        if ended.is_empty() {
            return hosts;
        }
        hosts.into_iter().filter(|host| !ended.contains(&(role.key.clone(), host.clone()))).collect()
    }

    /// Runs a list; returns the hosts that failed in it.
    pub(super) fn items<'a>(self: &'a Arc<Self>, items: &'a [Item], hosts: &'a [String], rescued: bool) -> BoxFuture<'a, Failed> {
        Box::pin(async move {
            let mut failed = HashSet::new();
            for item in items {
                let active = self.active(hosts, &failed);
                if active.is_empty() || self.run.cancelled() || *lock(&self.over) {
                    break;
                }
                let more = match item {
                    Item::Task(task) => {
                        let active = self.still_in_role(task, active);
                        self.task(task, &active, rescued).await?
                    }
                    Item::Block(block) => self.block(block, &active, rescued).await?,
                    Item::Role(role, tasks) => {
                        let fresh: Vec<String> = {
                            let done = lock(&self.roles_done);
                            let again = |host: &String| role.allow_duplicates || !done.contains(&(role.key.clone(), host.clone()));
                            active.into_iter().filter(again).collect()
                        };
                        let more = self.items(tasks, &fresh, rescued).await?;
                        let mut done = lock(&self.roles_done);
                        done.extend(fresh.iter().filter(|host| !more.contains(*host)).map(|host| (role.key.clone(), host.clone())));
                        lock(&self.ended_roles).retain(|(key, _)| *key != role.key);
                        more
                    }
                };
                failed.extend(more);
            }
            Ok(failed)
        })
    }

    async fn block(self: &Arc<Self>, block: &Arc<Block>, hosts: &[String], rescued: bool) -> Failed {
        let mut failed = self.items(&block.block, hosts, rescued || !block.rescue.is_empty()).await?;
        if !failed.is_empty() && !block.rescue.is_empty() {
            let taking: Vec<String> = hosts.iter().filter(|host| failed.contains(*host)).cloned().collect();
            let taking = self.active(&taking, &HashSet::new());
            let again = self.items(&block.rescue, &taking, rescued).await?;
            failed.retain(|host| again.contains(host) || !taking.contains(host));
            failed.extend(again);
        }
        if !block.always.is_empty() {
            let hosts = self.active(hosts, &HashSet::new());
            failed.extend(self.items(&block.always, &hosts, rescued).await?);
        }
        Ok(failed)
    }

    /// Runs what an include names, for the hosts that name it; returns those that failed.
    pub(super) async fn include(
        self: &Arc<Self>,
        task: &Arc<Task>,
        results: &Results,
        hosts: &[String],
        once: bool,
        rescued: bool,
    ) -> Failed {
        let mut wanted: Vec<Included> = Vec::new();
        for (host, result) in results {
            if is(result, "failed") || is(result, "unreachable") {
                continue;
            }
            let rounds: Vec<Dict> = match result.get("results").and_then(Data::as_list) {
                Some(list) if task.repeat.is_some() => list.iter().filter_map(Data::as_map).map(|map| (**map).clone()).collect(),
                _ => vec![result.clone()],
            };
            for round in rounds.iter().filter(|round| !is(round, "skipped")) {
                let what = round.get("include").map(python::str_of).unwrap_or_default();
                let args = round.get("include_args").cloned().unwrap_or_default();
                let mut vars = Dict::new();
                if let Some(variable) = round.get("ansible_loop_var").map(python::str_of) {
                    for key in [variable.as_str(), "ansible_loop_var", "ansible_index_var", "ansible_loop"] {
                        if let Some(value) = round.get(key) {
                            vars.insert(Arc::from(key), value.clone());
                        }
                    }
                    if let Some(index) = round.get("ansible_index_var").map(python::str_of) {
                        vars.extend(round.get(&*index).map(|value| (Arc::from(index.as_str()), value.clone())));
                    }
                }
                let everyone = if once { hosts.to_vec() } else { vec![host.clone()] };
                match wanted
                    .iter_mut()
                    .find(|other| other.what == what && other.vars == vars && other.args == args && !other.hosts.contains(host))
                {
                    Some(other) => other.hosts.extend(everyone),
                    None => wanted.push(Included { what, vars, args, hosts: everyone }),
                }
            }
        }
        let mut failed = HashSet::new();
        // Everything is read before the first one runs.
        let mut ready = Vec::new();
        for included in wanted {
            let active = self.active(&included.hosts, &failed);
            if active.is_empty() {
                continue;
            }
            match self.load_included(task, &included) {
                Ok(items) => {
                    for host in &active {
                        self.run.count(host, |recap| recap.ok += 1);
                    }
                    self.run.emit(Event::Included { what: included.what.clone(), hosts: active.clone() });
                    ready.push((items, active));
                }
                Err(fault) => {
                    for host in &active {
                        self.run.count(host, |recap| if rescued { recap.rescued += 1 } else { recap.failed += 1 });
                        let result = crate::data::dict_to_json(&failure(fault.to_string()));
                        let status = if rescued { Status::Rescued } else { Status::Failed };
                        self.run.emit(Event::HostResult {
                            host: host.clone(),
                            task: keyword::name(task, &self.scope(host, Some(task), Dict::new())),
                            place: task.place.to_string(),
                            status,
                            result,
                            duration: std::time::Duration::ZERO,
                            delegated_to: None,
                        });
                        failed.insert(host.clone());
                    }
                }
            }
        }
        for (items, hosts) in ready {
            let active = self.active(&hosts, &failed);
            failed.extend(self.items(&items, &active, rescued).await?);
        }
        Ok(failed)
    }

    fn load_included(self: &Arc<Self>, task: &Arc<Task>, included: &Included) -> Result<Vec<Item>, labctl_spec::mistake::Mistake> {
        // Included tasks inherit from the blocks around the include, not from the include itself, except for its variables and its `apply`.
        let mut keywords: Keywords = (*task.outer).clone();
        let own = &task.keywords.vars[task.outer.vars.len().min(task.keywords.vars.len())..];
        keywords.vars.extend(own.iter().cloned());
        keywords.include_vars.extend(own.iter().cloned());
        if !included.vars.is_empty() {
            keywords.include_vars.push(Arc::new(included.vars.clone()));
        }
        if let Some(apply) = included.args.get("apply").and_then(Data::as_map) {
            keywords.apply(apply, &task.place);
        }
        if &*task.action == "include_tasks" {
            return self.loader.dynamic_tasks(Path::new(&included.what), task, keywords);
        }
        let mut request = RoleRequest::from_args(&included.args).unwrap_or_default();
        request.name.clone_from(&included.what);
        let (role, items, handlers) = self.loader.dynamic_role(&request, task, keywords)?;
        if included.args.get("public").is_some_and(super::keyword::truth) {
            lock(&self.variables.roles).push(role);
        }
        self.add_handlers(handlers);
        Ok(items)
    }
}
