//! A play: hosts, batches, facts, sections.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::data::{Data, Dict};
use crate::error::PlaybookError;
use crate::event::Event;
use crate::playbook::{Item, Keywords, Loader, Play, Task};
use crate::python;
use crate::template::Scope;
use crate::variables::{self, Variables};

use super::hosts::{batches, hosts_of};
use super::{Run, keyword};
use crate::lock::lock;

/// A host's notifications.
#[derive(Debug, Default)]
pub(super) struct Notified {
    /// Names that have not been looked up yet.
    pub names: Vec<String>,
    /// Positions of handlers.
    pub pending: BTreeSet<usize>,
}

/// A play on one batch of hosts.
pub(crate) struct PlayRun {
    pub run: Arc<Run>,
    pub loader: Arc<Loader>,
    pub play: Arc<Play>,
    pub batch: Vec<String>,
    pub max_fail: Option<f64>,
    pub variables: Arc<Variables>,
    pub(super) handlers: Mutex<Vec<Arc<Task>>>,
    pub(super) notified: Mutex<HashMap<String, Notified>>,
    /// Whether handlers are running: notifications then reach later handlers.
    pub(super) flushing: Mutex<bool>,
    pub(super) unreachable: Mutex<HashSet<String>>,
    /// Hosts for which `meta` ended the play.
    pub(super) ended: Mutex<HashSet<String>>,
    pub(super) ended_roles: Mutex<HashSet<(String, String)>>,
    /// Whether `meta: end_play` was run.
    pub(super) over: Mutex<bool>,
    /// Roles that have run, by host.
    pub(super) roles_done: Mutex<HashSet<(String, String)>>,
    /// Results of `async` tasks by job.
    pub(crate) jobs: Mutex<HashMap<String, Dict>>,
}

impl PlayRun {
    pub(crate) fn scope(self: &Arc<Self>, host: &str, task: Option<&Task>, top: Dict) -> Arc<Scope> {
        self.variables.scope(host, task, top)
    }
}

/// Runs a play; returns whether the next one may run.
pub(super) async fn run_play(run: &Arc<Run>, loader: &Arc<Loader>, play: Play) -> Result<bool, PlaybookError> {
    let play = Arc::new(play);
    let wrong = |message: String| PlaybookError::Play { place: play.place.to_string(), message };
    let play_vars = Arc::new(prompted(run, &play)?);
    let folder = &play.folder;
    let groups = lock(&run.inventory).group_map();
    let early = Scope::new(
        run.engine.clone(),
        vec![
            run.extra.clone(),
            play_vars.clone(),
            Arc::new(variables::common(&groups, &[], &[], folder, run.options.check, run.options.diff, run.options.verbosity)),
            Arc::new(lock(&run.inventory).groups.get("all").map(|group| group.vars.clone()).unwrap_or_default()),
        ],
        vec![folder.clone()],
    );
    let (all, plain) = hosts_of(run, &play, &early)?;
    let name = play
        .name
        .as_ref()
        .or(Some(&play.hosts))
        .map(|name| early.resolve(name).map_or_else(|_| python::str_of(name), |name| python::str_of(&name)));
    let name = name.unwrap_or_default();
    if all.is_empty() {
        run.emit(Event::PlayStart { name: name.clone(), hosts: Vec::new() });
        run.emit(Event::Warning { message: format!("{}: no hosts matched: the play '{name}' is skipped", play.place) });
        return Ok(true);
    }
    let mut serial = Vec::new();
    for size in &play.serial {
        match early.resolve(size).map_err(|error| wrong(error.message))? {
            Data::List(list) => serial.extend(list.iter().map(python::str_of)),
            other => serial.push(python::str_of(&other)),
        }
    }
    let max_fail = keyword::number(play.max_fail_percentage.as_ref(), &early, &play.place, "max_fail_percentage")
        .map_err(|error| wrong(error.message))?;
    let lost_before = lock(&run.lost).clone();
    let candidates: Vec<String> = all.iter().filter(|host| !lost_before.contains(*host)).cloned().collect();
    for batch in batches(&candidates, &serial).map_err(wrong)? {
        run.emit(Event::PlayStart { name: name.clone(), hosts: batch.clone() });
        run_batch(run, loader, &play, &play_vars, &plain, batch.clone(), max_fail).await?;
        let lost = lock(&run.lost);
        let failed = batch.iter().filter(|host| lost.contains(*host)).count();
        let limit =
            max_fail.map_or(failed == batch.len(), |limit| failed as f64 / batch.len() as f64 * 100.0 > limit || failed == batch.len());
        if failed > 0 && limit {
            // A batch without survivors ends the whole run, as in Ansible.
            let everyone = all.iter().all(|host| lost.contains(host));
            drop(lost);
            if !serial.is_empty() || everyone {
                run.emit(Event::NoHostsRemaining);
                return Ok(false);
            }
        }
        if run.cancelled() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The play's own variables plus the prompted ones: their defaults, or extra variables.
fn prompted(run: &Run, play: &Play) -> Result<Dict, PlaybookError> {
    let mut out = (*play.vars).clone();
    for prompt in &play.vars_prompt {
        let name = prompt.get("name").map(python::str_of).unwrap_or_default();
        if run.extra.contains_key(&*name) {
            continue;
        }
        match prompt.get("default").filter(|value| !matches!(value, Data::Null)) {
            Some(value) => {
                out.insert(Arc::from(name), value.clone());
            }
            None => {
                let message =
                    format!("the play asks for the variable '{name}' (vars_prompt), which has no default: give it with -e {name}=VALUE");
                return Err(PlaybookError::Play { place: play.place.to_string(), message });
            }
        }
    }
    Ok(out)
}

/// Hosts in the order of the play's pattern, in which variables show them whatever the play's own order.
fn in_order(all: &[String], hosts: &[String]) -> Vec<String> {
    all.iter().filter(|host| hosts.contains(host)).cloned().collect()
}

async fn run_batch(
    run: &Arc<Run>,
    loader: &Arc<Loader>,
    play: &Arc<Play>,
    play_vars: &Arc<Dict>,
    all: &[String],
    batch: Vec<String>,
    max_fail: Option<f64>,
) -> Result<(), PlaybookError> {
    let variables = {
        let inventory = lock(&run.inventory);
        let groups = inventory.group_map();
        let mut common = variables::common(&groups, all, &batch, &play.folder, run.options.check, run.options.diff, run.options.verbosity);
        if let Some(file) = &inventory.file {
            common.insert("inventory_file".into(), Data::from(file.display().to_string()));
            common.insert("inventory_dir".into(), Data::from(file.parent().map(|folder| folder.display().to_string()).unwrap_or_default()));
        }
        let list = |names: &[String]| -> Data { names.iter().map(String::as_str).collect::<Vec<_>>().into() };
        let wanted = if run.options.tags.is_empty() { vec!["all".to_owned()] } else { run.options.tags.clone() };
        common.insert("ansible_run_tags".into(), list(&wanted));
        common.insert("ansible_skip_tags".into(), list(&run.options.skip_tags));
        if let Some(limit) = &run.options.limit {
            common.insert("ansible_limit".into(), Data::str(limit));
        }
        common.insert("ansible_play_name".into(), play.name.clone().unwrap_or_else(|| play.hosts.clone()));
        common.insert("role_names".into(), play.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>().into());
        common.insert("ansible_role_names".into(), play.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>().into());
        let groups = Mutex::new(crate::variables::Groups::of(&inventory));
        Arc::new(Variables {
            engine: run.engine.clone(),
            extra: run.extra.clone(),
            hosts: run.hosts.clone(),
            left: Mutex::new(in_order(all, &batch)),
            all: all.to_vec(),
            batch: batch.clone(),
            lost: run.lost.clone(),
            common: Arc::new(common),
            groups,
            play: play.clone(),
            play_vars: play_vars.clone(),
            vars_files: Mutex::default(),
            roles: Mutex::new(play.roles.clone()),
        })
    };
    let mut handlers = Vec::new();
    super::handlers::flatten(&play.handlers, &mut handlers);
    let state = Arc::new(PlayRun {
        run: run.clone(),
        loader: loader.clone(),
        play: play.clone(),
        batch: batch.clone(),
        max_fail,
        variables,
        handlers: Mutex::new(handlers),
        notified: Mutex::default(),
        flushing: Mutex::new(false),
        unreachable: Mutex::default(),
        ended: Mutex::default(),
        ended_roles: Mutex::default(),
        over: Mutex::new(false),
        roles_done: Mutex::default(),
        jobs: Mutex::default(),
    });
    let failed = match python::str_of(&play.strategy).as_str() {
        "free" | "ansible.builtin.free" | "host_pinned" => {
            let mut running: FuturesUnordered<_> = batch
                .iter()
                .map(|host| {
                    let (state, host) = (state.clone(), vec![host.clone()]);
                    async move { state.sections(&host).await }
                })
                .collect();
            let mut failed = HashSet::new();
            while let Some(more) = running.next().await {
                failed.extend(more?);
            }
            failed
        }
        "linear" | "ansible.builtin.linear" | "debug" => state.sections(&batch).await?,
        other => {
            let message = format!("Invalid play strategy specified: {other}; use linear or free");
            return Err(PlaybookError::Play { place: play.place.to_string(), message });
        }
    };
    lock(&run.lost).extend(failed);
    Ok(())
}

impl PlayRun {
    /// Runs facts, then pre_tasks, roles and tasks, and post_tasks, each followed by the handlers; returns the hosts that failed.
    async fn sections(self: &Arc<Self>, hosts: &[String]) -> Result<HashSet<String>, PlaybookError> {
        let mut failed = HashSet::new();
        let play = &self.play;
        let force = self.run.options.force_handlers
            || play.force_handlers.as_ref().is_some_and(|flag| {
                hosts.first().is_some_and(|host| self.scope(host, None, Dict::new()).resolve(flag).is_ok_and(|flag| keyword::truth(&flag)))
            });
        self.load_vars_files(hosts, false)?;
        failed.extend(self.gather(hosts).await?);
        self.load_vars_files(&self.active(hosts, &failed), true)?;
        let sections: [(&str, Vec<&[Item]>); 3] =
            [("pre_tasks", vec![&play.pre_tasks]), ("tasks", vec![&play.role_tasks, &play.tasks]), ("post_tasks", vec![&play.post_tasks])];
        for (_, lists) in &sections {
            let begin = self.active(hosts, &failed);
            for list in lists {
                let active = self.active(&begin, &failed);
                failed.extend(self.items(list, &active, false).await?);
            }
            let flushing = if force { self.active(&begin, &HashSet::new()) } else { self.active(hosts, &failed) };
            if !*lock(&self.over) && !self.run.cancelled() {
                failed.extend(self.flush(&flushing, false).await?);
            }
        }
        Ok(failed)
    }

    /// The implicit first task of a play.
    async fn gather(self: &Arc<Self>, hosts: &[String]) -> Result<HashSet<String>, PlaybookError> {
        let Some(first) = hosts.first() else {
            return Ok(HashSet::new());
        };
        let wanted = match &self.play.gather_facts {
            None => true,
            Some(flag) => {
                let scope = self.scope(first, None, Dict::new());
                let flag = scope
                    .resolve(flag)
                    .map_err(|error| PlaybookError::Play { place: self.play.place.to_string(), message: error.message })?;
                keyword::truth(&flag)
            }
        };
        if !wanted {
            return Ok(HashSet::new());
        }
        let mut keywords: Keywords = self.play.keywords.clone();
        keywords.tags = vec![Data::str("always")];
        keywords.when.clear();
        let task = Arc::new(Task::implicit("gather_facts", "Gathering Facts", keywords, self.play.place.clone()));
        // This is not one of the user's tasks: start_at_task and step mode do not apply.
        let started = std::mem::replace(&mut *lock(&self.run.started), true);
        let stepping = std::mem::replace(&mut *lock(&self.run.stepping), false);
        let failed = self.task(&task, hosts, false).await;
        *lock(&self.run.started) = started;
        *lock(&self.run.stepping) = stepping;
        failed
    }
}
