//! Hosts, groups and their variables: from a lab, or from an Ansible inventory file.

#[expect(clippy::disallowed_methods, reason = "read before a run, and never for a lab: nothing made by it is kept")]
mod file;
#[expect(clippy::disallowed_methods, reason = "as above")]
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use labctl_spec::lab::{Lab, Node};
use labctl_spec::mistake::Mistake;

use crate::controller::Controller;
use crate::data::{Data, Dict, Place};
use crate::host_pattern::{glob, select};
use crate::playbook::{read_variables, variable_files};

/// A host and its own variables.
#[derive(Debug, Clone, Default)]
pub struct Host {
    pub(crate) vars: Dict,
}

/// A group: its variables, the hosts named in it and its child groups.
#[derive(Debug, Clone, Default)]
pub struct Group {
    pub(crate) vars: Dict,
    pub(crate) hosts: Vec<String>,
    pub(crate) children: Vec<String>,
}

/// Hosts and groups.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pub(crate) hosts: IndexMap<String, Host>,
    pub(crate) groups: IndexMap<String, Group>,
    /// Folders with `group_vars` and `host_vars` next to the inventory.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) file: Option<PathBuf>,
}

impl Inventory {
    /// The nodes of a lab. Each has `ansible_host` (its address), and the variables of the lab, its groups and the node.
    pub fn of_lab(lab: &Lab) -> Self {
        let place = Place { file: Arc::from(lab.file.display().to_string()), line: 0 };
        let trusted = |map: &serde_json::Map<String, serde_json::Value>| -> Dict {
            map.iter().map(|(key, value)| (Arc::from(key.as_str()), Data::from_trusted_json(value, &place))).collect()
        };
        let mut inventory =
            Self { file: Some(lab.file.clone()), folders: lab.file.parent().map(PathBuf::from).into_iter().collect(), ..Self::default() };
        inventory.group("all").vars = trusted(&lab.variables);
        inventory.group("ungrouped");
        for node in &lab.nodes {
            let name = node.name.as_str().to_owned();
            inventory.hosts.insert(name.clone(), Host { vars: trusted(&Self::variables_of(lab, node)) });
            let groups = if node.groups.is_empty() { vec!["ungrouped".to_owned()] } else { node.groups.clone() };
            for group in groups {
                inventory.group(&group).hosts.push(name.clone());
            }
        }
        for (group, vars) in &lab.group_variables {
            inventory.group(group).vars = trusted(vars);
        }
        inventory
    }

    /// A node's own variables: what labctl knows of it, and those in the lab file.
    pub fn variables_of(lab: &Lab, node: &Node) -> serde_json::Map<String, serde_json::Value> {
        let address = || serde_json::Value::from(node.address.to_string());
        let known = [
            ("ansible_host", address()),
            ("node_address", address()),
            ("node_hostnames", node.hostnames.clone().into()),
            ("lab_name", lab.name.as_str().into()),
            ("lab_domain", lab.network.domain.as_str().into()),
        ];
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), value));
        known.chain(node.variables.clone()).collect()
    }

    /// Reads an Ansible inventory file, INI or YAML.
    ///
    /// # Errors
    /// What is wrong in it, with the line.
    pub fn from_file(path: &Path) -> Result<Self, Mistake> {
        file::read(path)
    }

    /// Host names in order.
    pub fn names(&self) -> Vec<String> {
        self.hosts.keys().cloned().collect()
    }

    pub(crate) fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// Adds a host to a group, and removes it from `ungrouped`.
    pub(crate) fn join(&mut self, group: &str, host: &str) {
        let members = &mut self.group(group).hosts;
        if !members.iter().any(|member| member == host) {
            members.push(host.to_owned());
        }
        if group != "ungrouped" && group != "all" {
            self.group("ungrouped").hosts.retain(|member| member != host);
        }
    }

    /// Hosts of a group, including those of its children, in inventory order.
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        if group == "all" {
            return self.names();
        }
        let mut wanted = Vec::new();
        self.collect(group, &mut wanted, 0);
        wanted
    }

    fn collect(&self, name: &str, out: &mut Vec<String>, depth: usize) {
        let Some(group) = self.groups.get(name).filter(|_| depth < 100) else {
            return;
        };
        for host in &group.hosts {
            if !out.contains(host) {
                out.push(host.clone());
            }
        }
        for child in &group.children {
            self.collect(child, out, depth + 1);
        }
    }

    /// Members by group, including `all` and `ungrouped`.
    pub(crate) fn group_map(&self) -> BTreeMap<String, Vec<String>> {
        let mut out: BTreeMap<String, Vec<String>> = self.groups.keys().map(|name| (name.clone(), self.members(name))).collect();
        out.insert("all".to_owned(), self.names());
        out.entry("ungrouped".to_owned()).or_default();
        out
    }

    /// A group's distance from `all`.
    fn depth(&self, name: &str, limit: usize) -> usize {
        if name == "all" || limit == 0 {
            return 0;
        }
        let parents = self.groups.iter().filter(|(_, group)| group.children.iter().any(|child| child == name));
        parents.map(|(parent, _)| self.depth(parent, limit - 1)).max().unwrap_or(0) + 1
    }

    /// A host's groups without `all`, in the order in which their variables apply: most distant from the host first, then by priority and
    /// name.
    pub(crate) fn groups_of(&self, host: &str) -> Vec<String> {
        let mut names: Vec<(usize, i64, String)> = self
            .groups
            .keys()
            .filter(|name| *name != "all" && self.members(name).iter().any(|member| member == host))
            .map(|name| {
                let priority = self.groups[name].vars.get("ansible_group_priority").map(crate::python::str_of);
                (self.depth(name, 100), priority.and_then(|text| text.parse().ok()).unwrap_or(1), name.clone())
            })
            .collect();
        names.sort();
        names.into_iter().map(|(_, _, name)| name).collect()
    }

    /// The hosts selected by a pattern.
    pub(crate) fn select(&self, pattern: &str) -> Vec<String> {
        select(pattern, &self.names(), &|name| {
            let mut out: Vec<String> = Vec::new();
            for group in self.groups.keys().filter(|group| glob(name, group)) {
                out.extend(self.members(group));
            }
            let direct = self.hosts.keys().filter(|host| glob(name, host)).cloned();
            out.extend(direct);
            let mut seen = Vec::new();
            for host in out {
                if !seen.contains(&host) {
                    seen.push(host);
                }
            }
            seen
        })
    }

    /// A host's variables from the inventory and from the `group_vars` and `host_vars` next to it and next to the playbook, merged in
    /// Ansible's order.
    pub(crate) fn variables(&self, host: &str, playbook: &Path, controller: &Controller) -> Result<Dict, Mistake> {
        let mut out = Dict::new();
        let add = |out: &mut Dict, vars: &Dict| out.extend(vars.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut folders: Vec<&Path> = self.folders.iter().map(PathBuf::as_path).filter(|folder| *folder != playbook).collect();
        folders.push(playbook);
        let mut groups = vec!["all".to_owned()];
        groups.extend(self.groups_of(host));
        // Group variables in the inventory itself rank below all variables files.
        for group in &groups {
            if let Some(group) = self.groups.get(group) {
                add(&mut out, &group.vars);
            }
        }
        for folder in &folders {
            add(&mut out, &files_of(&folder.join("group_vars"), "all", controller)?);
        }
        for folder in &folders {
            for group in groups.iter().skip(1) {
                add(&mut out, &files_of(&folder.join("group_vars"), group, controller)?);
            }
        }
        if let Some(host) = self.hosts.get(host) {
            add(&mut out, &host.vars);
        }
        for folder in &folders {
            add(&mut out, &files_of(&folder.join("host_vars"), host, controller)?);
        }
        Ok(out)
    }
}

/// Variables of `FOLDER/NAME.yml`, `FOLDER/NAME` or the files in the folder `FOLDER/NAME/`.
fn files_of(folder: &Path, name: &str, controller: &Controller) -> Result<Dict, Mistake> {
    let mut out = Dict::new();
    if !controller.is_folder(folder) || name.contains('/') {
        return Ok(out);
    }
    let directory = folder.join(name);
    if controller.is_folder(&directory) {
        for file in variable_files(&directory, controller) {
            out.extend(read_variables(&file, controller)?);
        }
    } else if controller.is_file(&directory) {
        out.extend(read_variables(&directory, controller)?);
    }
    for extension in ["yml", "yaml", "json"] {
        let file = folder.join(format!("{name}.{extension}"));
        if controller.is_file(&file) {
            out.extend(read_variables(&file, controller)?);
        }
    }
    Ok(out)
}
