//! A task on all hosts of a batch, and handling its results.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::data::{Data, Dict, dict_to_json};
use crate::error::PlaybookError;
use crate::event::{Event, Status, Timing};
use crate::playbook::Task;
use crate::python;

use super::attempt::{clean, has_failed, is};
use super::{PlayRun, Step, keyword, tags};
use crate::lock::lock;

/// The results of a task, by host.
pub(super) type Results = Vec<(String, Dict)>;

/// Whether the action adds tasks to the play.
pub(crate) fn is_include(action: &str) -> bool {
    matches!(action, "include_tasks" | "include_role")
}

/// What `no_log` leaves of a result.
pub(crate) fn censored(result: &Dict) -> Map<String, Value> {
    let mut out = Map::new();
    let text = "the output has been hidden due to the fact that 'no_log: true' was specified for this result";
    out.insert("censored".into(), text.into());
    for key in ["changed", "failed", "skipped", "unreachable", "attempts"] {
        if let Some(value) = result.get(key) {
            out.insert(key.into(), value.to_json());
        }
    }
    out
}

impl PlayRun {
    /// Whether a task runs at all, regardless of its condition: tags, `start_at_task`, step mode.
    fn admitted(self: &Arc<Self>, task: &Arc<Task>, host: &str) -> bool {
        let scope = self.scope(host, Some(task), Dict::new());
        if !task.is_handler && !tags::wanted(&task.keywords, &self.run.options, &scope) {
            return false;
        }
        {
            let mut started = lock(&self.run.started);
            if !*started {
                let own =
                    task.name.as_ref().map(|name| scope.resolve(name).map_or_else(|_| python::str_of(name), |name| python::str_of(&name)));
                let wanted = self.run.options.start_at_task.as_deref().unwrap_or_default();
                *started = own.as_deref().is_some_and(|own| own == wanted || crate::host_pattern::glob(wanted, own))
                    || crate::host_pattern::glob(wanted, &keyword::name(task, &scope));
                if !*started {
                    return false;
                }
            }
        }
        if &*task.action != "meta"
            && *lock(&self.run.stepping)
            && let Some(step) = &self.run.options.step
        {
            match step(&keyword::name(task, &scope)) {
                Step::Run => {}
                Step::Skip => return false,
                Step::Continue => *lock(&self.run.stepping) = false,
            }
        }
        true
    }

    /// Runs a task on all hosts in lockstep; returns those that failed. `rescued`: an enclosing `rescue` handles failures.
    pub(super) async fn task(
        self: &Arc<Self>,
        task: &Arc<Task>,
        hosts: &[String],
        rescued: bool,
    ) -> Result<HashSet<String>, PlaybookError> {
        let Some(first) = hosts.first() else {
            return Ok(HashSet::new());
        };
        if self.run.cancelled() || !self.admitted(task, first) {
            return Ok(HashSet::new());
        }
        if &*task.action == "meta" {
            return self.meta(task, hosts, rescued).await;
        }
        let scope = self.scope(first, Some(task), Dict::new());
        let name = keyword::name(task, &scope);
        let once = matches!(&*task.action, "add_host" | "pause") || keyword::flag(task, "run_once", &scope).unwrap_or(false);
        self.run.emit(Event::TaskStart {
            name: name.clone(),
            file: task.place.file.to_string(),
            line: task.place.line,
            action: task.action.to_string(),
            handler: task.is_handler,
        });
        let begin = Instant::now();
        let chosen: Vec<String> = if once { vec![first.clone()] } else { hosts.to_vec() };
        let throttle = keyword::number(task.keywords.get("throttle"), &scope, &task.place, "throttle").ok().flatten();
        let limit = throttle.map(|count| count as usize).filter(|count| *count > 0).unwrap_or(usize::MAX);
        let limit = limit.min(self.run.options.forks.filter(|forks| *forks > 0).unwrap_or(usize::MAX)).min(chosen.len());
        let gate = Arc::new(Semaphore::new(limit.max(1)));
        let mut running: FuturesUnordered<_> = chosen
            .iter()
            .map(|host| {
                let (gate, play, task, host) = (gate.clone(), self.clone(), task.clone(), host.clone());
                async move {
                    let _permit = gate.acquire().await;
                    let begin = Instant::now();
                    let result = play.rounds(&task, &host).await;
                    (host, result, begin.elapsed())
                }
            })
            .collect();
        let mut failed = HashSet::new();
        let mut results: Results = Vec::new();
        while let Some((host, result, duration)) = running.next().await {
            if self.settle(task, &host, &result, duration, once, rescued, hosts)? {
                failed.insert(host.clone());
            }
            results.push((host, result));
        }
        lock(&self.run.timings).push(Timing { name, place: task.place.to_string(), duration: begin.elapsed() });
        // Restore the order of the hosts: includes run in that order.
        results.sort_by_key(|(host, _)| hosts.iter().position(|other| other == host));
        if is_include(&task.action) {
            failed.extend(self.include(task, &results, hosts, once, rescued).await?);
        }
        let fatal = once || keyword::flag(task, "any_errors_fatal", &scope).unwrap_or(false);
        let ignored = keyword::flag(task, "ignore_errors", &scope).unwrap_or(false);
        let gone = results.iter().any(|(_, result)| is(result, "unreachable"));
        if (!failed.is_empty() || gone) && fatal && !ignored {
            failed.extend(hosts.iter().cloned());
        }
        self.too_many(&mut failed, hosts);
        Ok(failed)
    }

    /// `max_fail_percentage`: if it is exceeded, all hosts fail.
    fn too_many(&self, failed: &mut HashSet<String>, hosts: &[String]) {
        if failed.is_empty() {
            return;
        }
        let Some(limit) = self.max_fail else { return };
        let lost = lock(&self.run.lost);
        let count = self.batch.iter().filter(|host| lost.contains(*host) || failed.contains(*host)).count();
        if count as f64 / self.batch.len().max(1) as f64 * 100.0 > limit {
            failed.extend(hosts.iter().cloned());
            drop(lost);
            self.run.emit(Event::NoHostsRemaining);
        }
    }

    /// Whether `no_log` hides the results of a task.
    pub(super) fn hidden(self: &Arc<Self>, task: &Arc<Task>, host: &str, top: &Dict) -> bool {
        let scope = self.scope(host, Some(task), top.clone());
        // If this cannot be evaluated, hide the result.
        keyword::flag(task, "no_log", &scope).unwrap_or(true)
    }

    /// Counts, reports and stores a host's result; returns whether the host failed.
    #[allow(clippy::too_many_arguments, reason = "all of one result; a struct for this one call would only rename them")]
    fn settle(
        self: &Arc<Self>,
        task: &Arc<Task>,
        host: &str,
        result: &Dict,
        duration: Duration,
        once: bool,
        rescued: bool,
        hosts: &[String],
    ) -> Result<bool, PlaybookError> {
        let run = &self.run;
        let scope = self.scope(host, Some(task), Dict::new());
        let skipped = is(result, "skipped");
        let unreachable = is(result, "unreachable");
        let failed = has_failed(result) && !unreachable;
        let changed = is(result, "changed");
        let include = is_include(&task.action) && !failed && !skipped;
        let mut lost = false;
        let status = if unreachable {
            if keyword::flag(task, "ignore_unreachable", &scope).unwrap_or(false) {
                run.count(host, |recap| {
                    recap.ok += 1;
                    recap.ignored += 1;
                });
                Status::Ignored
            } else {
                run.count(host, |recap| recap.unreachable += 1);
                lock(&run.lost).insert(host.to_owned());
                lock(&self.unreachable).insert(host.to_owned());
                lock(&self.variables.left).retain(|left| left != host);
                Status::Unreachable
            }
        } else if failed {
            if keyword::flag(task, "ignore_errors", &scope).unwrap_or(false) && !is(result, "_ansible_fatal") {
                run.count(host, |recap| {
                    recap.ok += 1;
                    recap.ignored += 1;
                    recap.changed += u32::from(changed);
                });
                Status::Ignored
            } else {
                lost = true;
                if rescued {
                    run.count(host, |recap| recap.rescued += 1);
                    self.remember_failure(task, host, result, &scope);
                    Status::Rescued
                } else {
                    run.count(host, |recap| recap.failed += 1);
                    lock(&self.variables.left).retain(|left| left != host);
                    Status::Failed
                }
            }
        } else if skipped {
            run.count(host, |recap| recap.skipped += 1);
            Status::Skipped
        } else {
            if !include {
                run.count(host, |recap| {
                    recap.ok += 1;
                    recap.changed += u32::from(changed);
                });
            }
            if changed { Status::Changed } else { Status::Ok }
        };
        let loops: Vec<Dict> = match result.get("results").and_then(Data::as_list) {
            Some(list) if task.repeat.is_some() => list.iter().filter_map(Data::as_map).map(|map| (**map).clone()).collect(),
            _ => vec![result.clone()],
        };
        // As in Ansible, facts and notifications of a failed task are discarded.
        let everyone: Vec<String> = if once { hosts.to_vec() } else { vec![host.to_owned()] };
        if !failed && !unreachable {
            for item in &loops {
                self.apply(task, host, item, &everyone, &scope);
            }
            if changed && !task.keywords.notify.is_empty() {
                self.notify(task, host, &loops)?;
            }
        }
        if let Some(name) = task.register.as_ref() {
            let name = python::str_of(name);
            let value = Data::map(clean(result));
            for target in &everyone {
                self.set_variable(target, &name, value.clone());
            }
        }
        if include {
            return Ok(lost);
        }
        let hidden = self.hidden(task, host, &Dict::new());
        let shown = match (hidden, task.repeat.is_some()) {
            (true, _) => censored(result),
            (false, _) => dict_to_json(&clean(result)),
        };
        let delegated = result.get("_ansible_delegated_vars").and_then(|vars| vars.get("ansible_delegated_host")).map(python::str_of);
        run.emit(Event::HostResult {
            host: host.to_owned(),
            task: keyword::name(task, &scope),
            place: task.place.to_string(),
            status,
            result: shown,
            duration,
            delegated_to: delegated,
        });
        Ok(lost)
    }

    fn remember_failure(self: &Arc<Self>, task: &Arc<Task>, host: &str, result: &Dict, scope: &Arc<crate::template::Scope>) {
        let mut failed = Dict::new();
        let name = task.name.as_ref().map_or_else(|| Data::str(&*task.action), |name| scope.resolve(name).unwrap_or_else(|_| name.clone()));
        failed.insert("name".into(), name);
        failed.insert("action".into(), Data::str(&*task.action));
        failed.insert("args".into(), scope.resolve(&task.args).unwrap_or(Data::Null));
        self.set_variable(host, "ansible_failed_task", Data::map(failed));
        self.set_variable(host, "ansible_failed_result", Data::map(clean(result)));
    }

    /// Applies facts, new hosts and groups of one result.
    fn apply(self: &Arc<Self>, task: &Arc<Task>, host: &str, result: &Dict, everyone: &[String], scope: &Arc<crate::template::Scope>) {
        if let Some(facts) = result.get("ansible_facts").and_then(Data::as_map).filter(|_| &*task.action != "debug") {
            let delegated = result.get("_ansible_delegated_vars").and_then(|vars| vars.get("ansible_delegated_host")).map(python::str_of);
            let targets = match delegated {
                Some(other) if keyword::flag(task, "delegate_facts", scope).unwrap_or(false) => {
                    vec![other]
                }
                _ => everyone.to_vec(),
            };
            let cacheable = is(result, "_ansible_facts_cacheable");
            let mut hosts = lock(&self.run.hosts);
            for target in targets {
                let state = hosts.entry(target).or_default();
                match &*task.action {
                    "include_vars" => {
                        let included = Arc::make_mut(&mut state.included);
                        included.extend(facts.iter().map(|(key, value)| (key.clone(), value.clone())));
                    }
                    "set_fact" => {
                        let set = Arc::make_mut(&mut state.set);
                        set.extend(facts.iter().map(|(key, value)| (key.clone(), value.clone())));
                        if cacheable {
                            state.add_facts(facts);
                        }
                    }
                    _ => state.add_facts(facts),
                }
            }
        }
        if let Some(new) = result.get("add_host").and_then(Data::as_map) {
            self.add_host(new);
        }
        if let Some(group) = result.get("add_group").map(python::str_of) {
            let parents = result.get("parent_groups").and_then(Data::as_list).cloned().unwrap_or_default();
            self.add_group(host, &group, &parents);
        }
    }

    /// Sets a variable as `register` and `set_fact` do.
    pub(super) fn set_variable(&self, host: &str, name: &str, value: Data) {
        let mut hosts = lock(&self.run.hosts);
        let state = hosts.entry(host.to_owned()).or_default();
        Arc::make_mut(&mut state.set).insert(Arc::from(name), value);
    }

    fn add_host(&self, new: &Dict) {
        let name = new.get("host_name").map(python::str_of).unwrap_or_default();
        let vars = new.get("host_vars").and_then(Data::as_map).cloned().unwrap_or_default();
        let mut inventory = lock(&self.run.inventory);
        inventory.hosts.entry(name.clone()).or_default().vars.extend((*vars).clone());
        for group in new.get("groups").and_then(Data::as_list).into_iter().flat_map(|list| list.iter()) {
            inventory.join(&python::str_of(group), &name);
        }
        let known = inventory.variables(&name, &self.play.folder, &self.run.controller()).unwrap_or_default();
        *lock(&self.variables.groups) = crate::variables::Groups::of(&inventory);
        drop(inventory);
        lock(&self.run.hosts).entry(name).or_default().inventory = Arc::new(known);
    }

    fn add_group(&self, host: &str, group: &str, parents: &[Data]) {
        let mut inventory = lock(&self.run.inventory);
        inventory.join(group, host);
        for parent in parents {
            let children = &mut inventory.group(&python::str_of(parent)).children;
            if !children.iter().any(|child| child == group) {
                children.push(group.to_owned());
            }
        }
        let known = inventory.variables(host, &self.play.folder, &self.run.controller()).unwrap_or_default();
        *lock(&self.variables.groups) = crate::variables::Groups::of(&inventory);
        drop(inventory);
        lock(&self.run.hosts).entry(host.to_owned()).or_default().inventory = Arc::new(known);
    }
}
