//! Handlers: which are notified, and when they run. Also `meta`, which flushes them.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::data::{Data, Dict};
use crate::error::PlaybookError;
use crate::event::{Event, Status};
use crate::playbook::{Item, Task};
use crate::python;

use super::{PlayRun, keyword};
use crate::lock::lock;

/// The handlers of a list, including those inside blocks.
pub(super) fn flatten(items: &[Item], out: &mut Vec<Arc<Task>>) {
    for item in items {
        match item {
            Item::Task(task) => out.push(task.clone()),
            Item::Block(block) => flatten(&block.block, out),
            Item::Role(_, tasks) => flatten(tasks, out),
        }
    }
}

impl PlayRun {
    /// Adds handlers that an `include_role` brings in.
    pub(super) fn add_handlers(&self, items: Vec<Item>) {
        let mut new = Vec::new();
        flatten(&items, &mut new);
        let mut handlers = lock(&self.handlers);
        for handler in new {
            // A role that is included again brings the same handlers again; the newest ones replace the old ones.
            match handlers.iter_mut().find(|known| known.place == handler.place && known.name.is_some()) {
                Some(known) => *known = handler,
                None => handlers.push(handler),
            }
        }
    }

    /// Positions of the handlers that a notification addresses: the last one with that name, and all that listen to it.
    fn meant(self: &Arc<Self>, notification: &str) -> Vec<usize> {
        let handlers = lock(&self.handlers).clone();
        let Some(host) = self.batch.first() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        // Later lists of handlers override earlier ones; within a list, the first one with a name wins.
        let source = |handler: &Arc<Task>| (handler.role.as_ref().map(|role| role.key.clone()), handler.place.file.clone());
        let mut end = handlers.len();
        'lists: while end > 0 {
            let begin = (0..end).rev().take_while(|at| source(&handlers[*at]) == source(&handlers[end - 1])).last().unwrap_or(0);
            for (index, handler) in handlers.iter().enumerate().take(end).skip(begin) {
                let scope = self.scope(host, Some(handler), Dict::new());
                let Some(Ok(name)) = handler.name.as_ref().map(|name| scope.resolve(name)) else {
                    continue;
                };
                let name = python::str_of(&name);
                let qualified = handler.role.as_ref().map(|role| format!("{} : {name}", role.name));
                if name == notification || qualified.as_deref() == Some(notification) {
                    found.push(index);
                    break 'lists;
                }
            }
            end = begin;
        }
        for (index, handler) in handlers.iter().enumerate() {
            let scope = self.scope(host, Some(handler), Dict::new());
            let listens = handler.listen.iter().any(|topic| scope.resolve(topic).is_ok_and(|topic| python::str_of(&topic) == notification));
            if listens && !found.contains(&index) {
                found.push(index);
            }
        }
        found
    }

    /// Records a host's notifications of the handlers that a task names.
    pub(super) fn notify(self: &Arc<Self>, task: &Arc<Task>, host: &str, rounds: &[Dict]) -> Result<(), PlaybookError> {
        for round in rounds {
            let mut top = Dict::new();
            if let Some(variable) = round.get("ansible_loop_var").map(python::str_of) {
                top.extend(round.get(&*variable).map(|item| (Arc::from(variable.as_str()), item.clone())));
            }
            let scope = self.scope(host, Some(task), top);
            for name in &task.keywords.notify {
                let resolved =
                    scope.resolve(name).map_err(|error| PlaybookError::Play { place: task.place.to_string(), message: error.message })?;
                let names = match resolved {
                    Data::List(list) => list.iter().map(python::str_of).collect(),
                    Data::Omit | Data::Null => Vec::new(),
                    other => vec![python::str_of(&other)],
                };
                for name in names {
                    let meant = self.meant(&name);
                    if meant.is_empty() {
                        return Err(PlaybookError::Play {
                            place: task.place.to_string(),
                            message: format!(
                                "The requested handler '{name}' was not found in either the main handlers list nor in the listening handlers list"
                            ),
                        });
                    }
                    let mut notified = lock(&self.notified);
                    let state = notified.entry(host.to_owned()).or_default();
                    if *lock(&self.flushing) {
                        state.pending.extend(meant);
                    } else if !state.names.contains(&name) {
                        state.names.push(name);
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs the notified handlers in the order of their definition; returns the hosts that failed.
    pub(super) fn flush<'a>(
        self: &'a Arc<Self>,
        hosts: &'a [String],
        rescued: bool,
    ) -> BoxFuture<'a, Result<HashSet<String>, PlaybookError>> {
        Box::pin(async move {
            let mut any = false;
            for host in hosts {
                let names = lock(&self.notified).get_mut(host).map(|state| std::mem::take(&mut state.names)).unwrap_or_default();
                for name in names {
                    let meant = self.meant(&name);
                    lock(&self.notified).entry(host.clone()).or_default().pending.extend(meant);
                }
                any |= lock(&self.notified).get(host).is_some_and(|state| !state.pending.is_empty());
            }
            let mut failed = HashSet::new();
            if !any || self.run.options.without_handlers || *lock(&self.flushing) {
                return Ok(failed);
            }
            *lock(&self.flushing) = true;
            let mut index = 0;
            while let Some(handler) = { lock(&self.handlers).get(index).cloned() } {
                let wanting: Vec<String> = {
                    let mut notified = lock(&self.notified);
                    self.active(hosts, &failed)
                        .into_iter()
                        .filter(|host| notified.get_mut(host).is_some_and(|state| state.pending.remove(&index)))
                        .collect()
                };
                if !wanting.is_empty() {
                    match self.task(&handler, &wanting, rescued).await {
                        Ok(more) => failed.extend(more),
                        Err(error) => {
                            *lock(&self.flushing) = false;
                            return Err(error);
                        }
                    }
                }
                index += 1;
                if *lock(&self.over) {
                    break;
                }
            }
            *lock(&self.flushing) = false;
            Ok(failed)
        })
    }

    /// `meta: ACTION`
    pub(super) fn meta<'a>(
        self: &'a Arc<Self>,
        task: &'a Arc<Task>,
        hosts: &'a [String],
        rescued: bool,
    ) -> BoxFuture<'a, Result<HashSet<String>, PlaybookError>> {
        Box::pin(async move {
            let what = task.arg("_raw_params").map(python::str_of).unwrap_or_default();
            let mut chosen = Vec::new();
            for host in hosts {
                let scope = self.scope(host, Some(task), Dict::new());
                match keyword::all_hold(&task.keywords.when, &scope) {
                    Ok(Ok(())) => chosen.push(host.clone()),
                    // A skipped `meta` is not counted.
                    Ok(Err(_)) => {}
                    Err(error) => {
                        self.run.count(host, |recap| recap.failed += 1);
                        let result = crate::data::dict_to_json(&super::attempt::failure(error.message));
                        self.run.emit(Event::HostResult {
                            host: host.clone(),
                            task: keyword::name(task, &scope),
                            place: task.place.to_string(),
                            status: Status::Failed,
                            result,
                            duration: std::time::Duration::ZERO,
                            delegated_to: None,
                        });
                        return Ok([host.clone()].into_iter().collect());
                    }
                }
            }
            if chosen.is_empty() {
                return Ok(HashSet::new());
            }
            match what.as_str() {
                "flush_handlers" => return self.flush(&chosen, rescued).await,
                "noop" | "refresh_inventory" | "reset_connection" | "role_complete" => {}
                "clear_facts" => {
                    let mut states = lock(&self.run.hosts);
                    for host in &chosen {
                        if let Some(state) = states.get_mut(host) {
                            state.facts = Arc::default();
                            state.injected = Arc::default();
                            state.gathered = false;
                        }
                    }
                }
                "clear_host_errors" => {
                    let mut lost = lock(&self.run.lost);
                    let mut unreachable = lock(&self.unreachable);
                    for host in self.variables.all.iter() {
                        lost.remove(host);
                        unreachable.remove(host);
                    }
                }
                "end_host" => lock(&self.ended).extend(chosen),
                "end_batch" => lock(&self.ended).extend(hosts.iter().cloned()),
                "end_play" => {
                    lock(&self.ended).extend(self.batch.iter().cloned());
                    *lock(&self.over) = true;
                }
                "end_role" => {
                    if let Some(role) = &task.role {
                        lock(&self.ended_roles).extend(chosen.into_iter().map(|host| (role.key.clone(), host)));
                    }
                }
                other => {
                    return Err(PlaybookError::Play {
                        place: task.place.to_string(),
                        message: format!("invalid meta action requested: {other}"),
                    });
                }
            }
            Ok(HashSet::new())
        })
    }
}
