//! The variables of a host at a task: Ansible's order of precedence, and its magic variables.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use minijinja::value::Value;

use crate::controller::Controller;
use crate::data::{Data, Dict};
use crate::lock::lock;
use crate::playbook::{Play, Task};
use crate::python;
use crate::template::value::{LazyMap, to_value};
use crate::template::{Engine, Scope};

/// What a run has learned about a host.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostState {
    /// Facts without their prefix: `ansible_facts`.
    pub facts: Arc<Dict>,
    /// Facts with their prefix.
    pub injected: Arc<Dict>,
    /// `set_fact` and `register`.
    pub set: Arc<Dict>,
    /// `include_vars`.
    pub included: Arc<Dict>,
    /// Inventory, group_vars and host_vars, merged.
    pub inventory: Arc<Dict>,
    pub gathered: bool,
}

impl HostState {
    /// Adds facts as returned by a module.
    pub(crate) fn add_facts(&mut self, facts: &Dict) {
        let mut plain = (*self.facts).clone();
        let mut injected = (*self.injected).clone();
        for (key, value) in facts {
            let short = key.strip_prefix("ansible_").filter(|short| *short != "facts").unwrap_or(key);
            plain.insert(Arc::from(short), value.clone());
            // The variable keeps the module's name for it: `ansible_...` from `setup`, `services` from `service_facts`.
            injected.insert(key.clone(), value.clone());
        }
        self.facts = Arc::new(plain);
        self.injected = Arc::new(injected);
    }
}

/// Everything that variables depend on, shared by the hosts of a play.
pub(crate) struct Variables {
    pub engine: Arc<Engine>,
    pub extra: Arc<Dict>,
    pub hosts: Arc<Mutex<HashMap<String, HostState>>>,
    /// The same for every host: groups, directories, version.
    pub common: Arc<Dict>,
    /// Hosts of the batch that are still active, for `ansible_play_hosts`.
    pub left: Mutex<Vec<String>>,
    /// Hosts of the play, including other batches, in inventory order.
    pub all: Vec<String>,
    /// Hosts of this batch.
    pub batch: Vec<String>,
    /// Hosts of the run that have dropped out.
    pub lost: Arc<Mutex<std::collections::HashSet<String>>>,
    /// Current groups: tasks may add some.
    pub groups: Mutex<Groups>,
    pub play: Arc<Play>,
    /// Variables of the play itself, including prompts.
    pub play_vars: Arc<Dict>,
    /// `vars_files` by host.
    pub vars_files: Mutex<HashMap<String, Arc<Dict>>>,
    /// Roles of the play, including those added by `include_role` with `public`.
    pub roles: Mutex<Vec<Arc<crate::playbook::Role>>>,
}

/// Group membership.
pub(crate) struct Groups {
    /// Host names by group.
    all: Data,
    /// Group names by host, sorted.
    of_host: HashMap<String, Data>,
}

impl Groups {
    /// The groups of an inventory.
    pub(crate) fn of(inventory: &crate::inventory::Inventory) -> Self {
        let names = |list: &[String]| -> Data { list.iter().map(String::as_str).collect::<Vec<_>>().into() };
        let all = Data::map(inventory.group_map().iter().map(|(name, hosts)| (Arc::from(name.as_str()), names(hosts))).collect());
        let of_host = inventory.names().into_iter().map(|host| {
            let mut groups = inventory.groups_of(&host);
            groups.sort();
            (host, names(&groups))
        });
        Self { all, of_host: of_host.collect() }
    }
}

impl Variables {
    /// Where a task's files are searched for: its role, the folder of its own file, the playbook.
    fn search(&self, task: Option<&Task>) -> Vec<PathBuf> {
        let mut out = Vec::new();
        if let Some(task) = task {
            if let Some(role) = &task.role {
                out.push(role.path.clone());
                out.extend(role.parents.iter().rev().map(|parent| parent.path.clone()));
            }
            if !task.folder.as_os_str().is_empty() && !out.contains(&task.folder) {
                out.push(task.folder.clone());
            }
        }
        if !out.contains(&self.play.folder) {
            out.push(self.play.folder.clone());
        }
        out
    }

    /// The scope of a host at a task; `top` holds loop variables and other names that override everything else.
    pub(crate) fn scope(self: &Arc<Self>, host: &str, task: Option<&Task>, top: Dict) -> Arc<Scope> {
        self.layers(host, task, top, true)
    }

    /// With `in_play` unset: as other hosts see this one in `hostvars`, without variables of the play and its roles.
    fn layers(self: &Arc<Self>, host: &str, task: Option<&Task>, top: Dict, in_play: bool) -> Arc<Scope> {
        let state = lock(&self.hosts).get(host).cloned().unwrap_or_default();
        let mut layers: Vec<Arc<Dict>> = Vec::with_capacity(20);
        if !top.is_empty() {
            layers.push(Arc::new(top));
        }
        layers.push(Arc::new(self.magic(host, task)));
        layers.push(self.common.clone());
        layers.push(self.extra.clone());
        if let Some(task) = task {
            layers.extend(task.keywords.include_vars.iter().rev().cloned());
            if let Some(role) = &task.role {
                layers.push(role.params.clone());
                layers.extend(role.parents.iter().rev().map(|parent| parent.params.clone()));
            }
        }
        layers.push(state.set.clone());
        layers.push(state.included.clone());
        let roles = if in_play { lock(&self.roles).clone() } else { Vec::new() };
        if let Some(task) = task {
            layers.extend(task.keywords.vars.iter().rev().cloned());
            if let Some(role) = &task.role {
                layers.push(role.entry_vars.clone());
                layers.push(role.vars.clone());
            }
        }
        layers.extend(roles.iter().rev().map(|role| role.vars.clone()));
        if in_play {
            layers.extend(lock(&self.vars_files).get(host).cloned());
            layers.push(self.play_vars.clone());
        }
        let mut facts = Dict::new();
        facts.insert("ansible_facts".into(), Data::Map(state.facts.clone()));
        layers.push(Arc::new(facts));
        layers.push(state.injected.clone());
        layers.push(state.inventory.clone());
        if let Some(role) = task.and_then(|task| task.role.as_ref()) {
            layers.push(role.defaults.clone());
        }
        layers.extend(roles.iter().rev().map(|role| role.defaults.clone()));
        let asker = task.map(|task| {
            let name = task.name.as_ref().map_or_else(|| task.written.to_string(), python::str_of);
            Arc::from(format!("task `{name}` ({})", task.place))
        });
        Scope::for_task(self.engine.clone(), layers, self.search(task), asker)
    }

    fn magic(self: &Arc<Self>, host: &str, task: Option<&Task>) -> Dict {
        let mut out = Dict::new();
        out.insert("inventory_hostname".into(), Data::str(host));
        out.insert("inventory_hostname_short".into(), Data::str(host.split('.').next().unwrap_or(host)));
        {
            let groups = lock(&self.groups);
            out.insert("group_names".into(), groups.of_host.get(host).cloned().unwrap_or(Data::list(Vec::new())));
            out.insert("groups".into(), groups.all.clone());
        }
        let left: Data = lock(&self.left).iter().map(String::as_str).collect::<Vec<_>>().into();
        for name in ["ansible_play_batch", "play_hosts"] {
            out.insert(name.into(), left.clone());
        }
        let remaining: Vec<&str> = {
            let (lost, left) = (lock(&self.lost), lock(&self.left));
            let gone = |host: &String| lost.contains(host) || self.batch.contains(host) && !left.contains(host);
            self.all.iter().filter(|host| !gone(host)).map(String::as_str).collect()
        };
        out.insert("ansible_play_hosts".into(), remaining.into());
        out.insert("hostvars".into(), Data::Opaque(self.hostvars()));
        if let Some(role) = task.and_then(|task| task.role.as_ref()) {
            let name = role.name.rsplit('/').next().unwrap_or(&role.name);
            out.insert("role_name".into(), Data::str(name));
            out.insert("ansible_role_name".into(), Data::str(name));
            out.insert("role_path".into(), Data::from(role.path.display().to_string()));
            let parents: Vec<&str> = role.parents.iter().rev().map(|parent| parent.name.as_str()).collect();
            out.insert("ansible_parent_role_names".into(), parents.into());
        }
        out
    }

    /// All known hosts, in inventory order.
    fn host_names(&self) -> Vec<Arc<str>> {
        let order: Vec<String> = match lock(&self.groups).all.get("all").and_then(Data::as_list) {
            Some(list) => list.iter().map(python::str_of).collect(),
            None => Vec::new(),
        };
        let mut names: Vec<String> = lock(&self.hosts).keys().cloned().collect();
        names.sort_by_key(|name| (order.iter().position(|other| other == name).unwrap_or(usize::MAX), name.clone()));
        names.into_iter().map(Arc::from).collect()
    }

    fn hostvars(self: &Arc<Self>) -> Value {
        let names = self.clone();
        let values = self.clone();
        Value::from_object(LazyMap {
            kind: "HostVars",
            keys: Box::new(move || names.host_names()),
            get: Box::new(move |host| {
                if !lock(&values.hosts).contains_key(host) {
                    return None;
                }
                let scope = values.layers(host, None, Dict::new(), false);
                let again = scope.clone();
                Some(Value::from_object(LazyMap {
                    kind: "HostVarsVars",
                    keys: Box::new(move || again.names()),
                    get: Box::new(move |name| scope.get(name).map(|data| to_value(data, &scope))),
                }))
            }),
        })
    }
}

/// Ansible's own variables that are fixed for a whole run or play.
pub(crate) fn common(
    groups: &std::collections::BTreeMap<String, Vec<String>>,
    all: &[String],
    batch: &[String],
    folder: &std::path::Path,
    check: bool,
    diff: bool,
    verbosity: u8,
) -> Dict {
    let names = |list: &[String]| -> Data { list.iter().map(String::as_str).collect::<Vec<_>>().into() };
    let mut out = Dict::new();
    out.insert("groups".into(), Data::map(groups.iter().map(|(name, hosts)| (Arc::from(name.as_str()), names(hosts))).collect()));
    out.insert("ansible_play_hosts".into(), names(batch));
    out.insert("ansible_play_hosts_all".into(), names(all));
    out.insert("ansible_play_batch".into(), names(batch));
    out.insert("play_hosts".into(), names(batch));
    out.insert("playbook_dir".into(), Data::from(folder.display().to_string()));
    out.insert("ansible_check_mode".into(), Data::Bool(check));
    out.insert("ansible_diff_mode".into(), Data::Bool(diff));
    out.insert("ansible_verbosity".into(), Data::Int(i64::from(verbosity)));
    out.insert("ansible_forks".into(), Data::Int(5));
    let mut version = Dict::new();
    version.insert("full".into(), Data::str("2.19.0"));
    version.insert("major".into(), Data::Int(2));
    version.insert("minor".into(), Data::Int(19));
    version.insert("revision".into(), Data::Int(0));
    version.insert("string".into(), Data::str("2.19.0"));
    out.insert("ansible_version".into(), Data::map(version));
    out
}

/// Reads `-e` arguments: `k=v ...`, JSON or YAML text, `@file`.
pub(crate) fn extra(arguments: &[String], controller: &Controller) -> Result<Dict, String> {
    let mut out = Dict::new();
    let place = crate::data::Place::default();
    for argument in arguments {
        if let Some(file) = argument.strip_prefix('@') {
            let path = PathBuf::from(file);
            out.extend(crate::playbook::read_variables(&path, controller).map_err(|fault| fault.to_string())?);
        } else if argument.trim_start().starts_with(['{', '[']) {
            let nodes = crate::yaml::documents(argument, std::path::Path::new("<extra vars>")).map_err(|fault| fault.reason)?;
            for node in &nodes {
                match crate::yaml::data(node, &place.file, true) {
                    Data::Map(map) => out.extend((*map).clone()),
                    other => {
                        return Err(format!("extra variables must be a mapping, not {}", python::repr(&other)));
                    }
                }
            }
        } else {
            let parsed = crate::playbook::args::parse("extra", argument, &place);
            if let Some(rest) = parsed.get("_raw_params") {
                return Err(format!("extra variables must be key=value, JSON or @file: {}", python::str_of(rest)));
            }
            out.extend(parsed);
        }
    }
    Ok(out)
}
