//! The names by which a node is reached, unique in the lab.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeFile;
use super::expand::{INDEX, Machine, numbered};
use crate::names;
use crate::report::Report;

/// The additional names of each machine: `name.domain`, then those from the file.
pub(super) fn hostnames(nodes: &[NodeFile], machines: &[Machine], domain: &str, report: &mut Report) -> Vec<Vec<String>> {
    let full = |machine: &Machine| format!("{}.{domain}", machine.name);
    let own = machines.iter().flat_map(|machine| [(machine.name.to_string(), machine), (full(machine), machine)]);
    let mut taken: BTreeMap<String, &Machine> = own.collect();
    let faulty = faulty_templates(nodes, report);
    let mut told = BTreeSet::new();
    machines
        .iter()
        .map(|machine| {
            let mut all = vec![full(machine)];
            let written = nodes.get(machine.entry).map(|node| node.hostnames.as_slice()).unwrap_or_default();
            for (position, template) in written.iter().enumerate() {
                if faulty.contains(&(machine.entry, position)) {
                    continue;
                }
                let name = numbered(template, machine.number);
                if name == machine.name.as_str() || all.first() == Some(&name) {
                    // The node has this name anyway.
                    continue;
                }
                if let Some(other) = taken.get(&name) {
                    if told.insert((machine.entry, position)) {
                        let reason = if other.name == machine.name {
                            format!("`{name}` is listed twice")
                        } else {
                            format!("`{name}` is already a name of node `{}`", other.name)
                        };
                        let at = format!("/nodes/{}/hostnames/{position}", machine.entry);
                        report.add(&at, reason, "a name can refer to only one node: remove one");
                    }
                    continue;
                }
                taken.insert(name.clone(), machine);
                all.push(name);
            }
            all
        })
        .collect()
}

/// Entries and positions of names that are invalid by themselves.
fn faulty_templates(nodes: &[NodeFile], report: &mut Report) -> BTreeSet<(usize, usize)> {
    let mut faulty = BTreeSet::new();
    for (entry, node) in nodes.iter().enumerate() {
        if node.count.is_none() && report.is_faulty(&format!("/nodes/{entry}/count")) {
            continue;
        }
        for (position, template) in node.hostnames.iter().enumerate() {
            let has_index = template.contains(INDEX);
            let wrong = match node.count {
                None if has_index => {
                    let reason = "`{index}` works only together with `count`".to_owned();
                    Err((reason, "add `count:` or remove it".to_owned()))
                }
                Some(count) if count > 1 && !has_index => {
                    let hint = "put `{index}` into it, such as `client{index}.demo`".to_owned();
                    Err((format!("all {count} nodes would be called `{template}`"), hint))
                }
                _ => names::host_name(&numbered(template, node.count)),
            };
            if let Err((reason, hint)) = wrong {
                report.add(&format!("/nodes/{entry}/hostnames/{position}"), reason, hint);
                faulty.insert((entry, position));
            }
        }
    }
    faulty
}
