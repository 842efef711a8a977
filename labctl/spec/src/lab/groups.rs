//! Groups: their names, and variables of groups that no node is in.

use std::collections::BTreeSet;

use super::expand::Machine;
use super::{LabFile, validate};
use crate::check::{escape, nearest};
use crate::names;
use crate::report::Report;

const HINT: &str = "use letters, digits, underscores and hyphens, beginning with a letter or underscore";

pub(super) fn groups(plain: &LabFile, machines: &[Machine], report: &mut Report) {
    // Nodes that were dropped because of a fault may be in any group.
    let complete = !report.is_faulty("/nodes");
    let nodes: BTreeSet<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
    let mut known = BTreeSet::new();
    for (entry, node) in plain.nodes.iter().enumerate() {
        let mut here = BTreeSet::new();
        for (position, group) in node.groups.iter().enumerate() {
            let at = format!("/nodes/{entry}/groups/{position}");
            if let Some((reason, hint)) = wrong(group, &nodes) {
                report.add(&at, reason, hint);
            } else if !here.insert(group) {
                report.add(&at, format!("`{group}` is listed twice"), "remove one");
            }
            known.insert(group.as_str());
        }
    }
    for (name, group) in &plain.groups {
        let at = format!("/groups/{}", escape(name));
        if name == "all" {
            report.add_key("/groups", name, "every node is in `all`", "use the file's own `variables` for all nodes");
        } else if !known.contains(name.as_str()) && complete {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => {
                    format!("did you mean `{near}`? a node joins a group by its `groups: [{name}]`")
                }
                None => format!("a node joins a group by its `groups: [{name}]`"),
            };
            report.add_key("/groups", name, format!("no node is in the group `{name}`"), hint);
        }
        validate::variables(&group.variables, &at, report);
    }
}

fn wrong(group: &str, nodes: &BTreeSet<&str>) -> Option<(String, String)> {
    if matches!(group, "all" | "ungrouped") {
        let hint = "remove it; Ansible manages the groups `all` and `ungrouped` itself".to_owned();
        return Some((format!("`{group}` is a reserved group name"), hint));
    }
    if nodes.contains(group) {
        let hint = "rename one: `hosts:` cannot distinguish them".to_owned();
        return Some((format!("`{group}` is the name of a node"), hint));
    }
    (!names::is_group(group)).then(|| (format!("`{group}` is not a valid group name"), HINT.to_owned()))
}
