//! A lab as an inventory of Ansible's: its groups, variables, and how to reach its nodes.

mod text;

use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_provision::Inventory as Provisioned;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Node;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::ssh::Access;

type Variables = Map<String, Value>;

/// Groups, hosts and their variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Variables of all hosts.
    vars: Variables,
    /// Hosts and their own variables, in the order of the lab file.
    hosts: Vec<(NodeName, Variables)>,
    /// Groups without `all`, by name: variables and hosts.
    groups: Vec<(String, Variables, Vec<NodeName>)>,
}

impl Inventory {
    /// The inventory of a lab. What the lab file sets itself, such as `ansible_user`, is left as it is.
    pub fn of(home: &Home, record: &Record) -> Result<Self, Failure> {
        let lab = &record.lab;
        let access = Access::prepare(home, record)?;
        let home = &home.lab(&lab.name);
        let mut vars = Variables::new();
        vars.insert("ansible_ssh_private_key_file".into(), json!(access.key));
        // Found without a search, whose warning would be the first thing that users see.
        vars.insert("ansible_python_interpreter".into(), json!("/usr/bin/python3"));
        vars.extend(lab.variables.clone());
        let mut hosts = Vec::new();
        for node in &lab.nodes {
            let in_groups = node.groups.iter().filter_map(|group| lab.group_variables.get(group));
            let set: Vec<&Variables> = in_groups.chain([&lab.variables]).collect();
            let mut own = connection(home, node, &access)?;
            own.retain(|name, _| !set.iter().any(|variables| variables.contains_key(name)));
            own.extend(Provisioned::variables_of(lab, node));
            hosts.push((node.name.clone(), own));
        }
        let groups = lab.groups().into_iter().filter(|(name, _)| name != "all").map(|(name, members)| {
            let vars = lab.group_variables.get(&name).cloned().unwrap_or_default();
            (name, vars, members)
        });
        Ok(Self { vars, hosts, groups: groups.collect() })
    }

    /// What a dynamic inventory prints for `--list`.
    pub fn list(&self) -> Value {
        let hosts: Map<String, Value> = self.hosts.iter().map(|(name, vars)| (name.to_string(), json!(vars))).collect();
        let mut children: Vec<&str> = vec!["ungrouped"];
        children.extend(self.groups.iter().map(|(name, ..)| name.as_str()));
        let mut list = Map::new();
        list.insert("_meta".into(), json!({ "hostvars": hosts }));
        list.insert("all".into(), json!({ "children": children, "vars": self.vars }));
        list.insert("ungrouped".into(), json!({ "hosts": self.ungrouped() }));
        for (name, vars, members) in &self.groups {
            list.insert(name.clone(), json!({ "hosts": members, "vars": vars }));
        }
        Value::Object(list)
    }

    /// What a dynamic inventory prints for `--host NAME`: the host's own variables.
    pub fn host(&self, name: &str) -> Result<Value, Failure> {
        let found = self.hosts.iter().find(|(host, _)| host.as_str() == name);
        found.map(|(_, vars)| json!(vars)).ok_or_else(|| {
            let known: Vec<&str> = self.hosts.iter().map(|(host, _)| host.as_str()).collect();
            Failure::new(Kind::NotFound, format!("there is no node `{name}`")).hint(format!("nodes: {}", known.join(", ")))
        })
    }

    /// As a YAML file.
    pub fn yaml(&self) -> String {
        text::yaml(self)
    }

    /// As an INI file.
    pub fn ini(&self) -> String {
        text::ini(self)
    }

    /// Hosts that are in no group.
    fn ungrouped(&self) -> Vec<&NodeName> {
        let grouped = |name: &NodeName| self.groups.iter().any(|(_, _, members)| members.contains(name));
        self.hosts.iter().map(|(name, _)| name).filter(|name| !grouped(name)).collect()
    }
}

/// How Ansible reaches a node: as `ssh-config` describes it.
fn connection(home: &LabHome, node: &Node, access: &Access<'_>) -> Result<Variables, Failure> {
    let mut arguments = Vec::new();
    for (option, value) in access.options(node)? {
        // These two have variables of their own.
        if !matches!(option, "User" | "IdentityFile") {
            arguments.push(format!("-o {}", text::word(&format!("{option}={value}"))));
        }
    }
    // By default, Ansible shares a connection between hosts that have the same address, as nodes of cloned labs do.
    let place = Sha256::digest(format!("{}\0{}", home.folder().display(), node.name));
    let socket = format!("%(directory)s/{}-%%r", &hex::encode(place)[..12]);
    let mut own = Variables::new();
    own.insert("ansible_user".into(), json!(node.login()));
    own.insert("ansible_port".into(), json!(22));
    own.insert("ansible_control_path".into(), json!(socket));
    own.insert("ansible_ssh_common_args".into(), json!(arguments.join(" ")));
    Ok(own)
}
