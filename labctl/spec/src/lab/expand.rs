//! Expands entries of `nodes` to machines: `count` and `{index}`.

use std::collections::HashMap;

use super::NodeFile;
use crate::ident::NodeName;
use crate::report::Report;

/// Placeholder for a machine's number.
pub(super) const INDEX: &str = "{index}";

/// One machine of an entry of `nodes`.
pub(super) struct Machine {
    /// Position of its entry in `nodes`.
    pub(super) entry: usize,
    /// Its number in the entry, from 1; `None` without `count`.
    pub(super) number: Option<u32>,
    /// Its name.
    pub(super) name: NodeName,
}

/// `text` for machine `number`; unchanged without a number.
pub(super) fn numbered(text: &str, number: Option<u32>) -> String {
    match number {
        Some(number) => text.replace(INDEX, &number.to_string()),
        None => text.to_owned(),
    }
}

/// The numbers of an entry's machines.
fn numbers(node: &NodeFile) -> Vec<Option<u32>> {
    match node.count {
        Some(count) => (1..=count).map(Some).collect(),
        None => vec![None],
    }
}

/// All machines in file order, without those whose name is faulty.
pub(super) fn machines(nodes: &[NodeFile], domain: &str, report: &mut Report) -> Vec<Machine> {
    let mut machines = Vec::new();
    let mut taken: HashMap<NodeName, usize> = HashMap::new();
    for (entry, node) in nodes.iter().enumerate() {
        let at = format!("/nodes/{entry}/name");
        let count = format!("/nodes/{entry}/count");
        if node.count.is_none() && report.is_faulty(&count) {
            continue;
        }
        if node.count.is_none() && node.name.contains(INDEX) {
            report.add(&at, "`{index}` works only together with `count`", "add `count:` or remove it");
            continue;
        }
        let template = match node.count {
            Some(_) if !node.name.contains(INDEX) => format!("{}{INDEX}", node.name),
            _ => node.name.clone(),
        };
        let mut told = false;
        for number in numbers(node) {
            match name(&numbered(&template, number), domain) {
                Err((reason, hint)) if !told => {
                    report.add(&at, reason, hint);
                    told = true;
                }
                Err(_) => {}
                Ok(name) => {
                    if let Some(other) = taken.get(&name) {
                        if !told {
                            let reason =
                                format!("the name `{name}` is taken by the node on line {}", report.line(&format!("/nodes/{other}")));
                            report.add(&at, reason, "give every node its own name");
                            told = true;
                        }
                        continue;
                    }
                    taken.insert(name.clone(), entry);
                    machines.push(Machine { entry, number, name });
                }
            }
        }
    }
    machines
}

fn name(text: &str, domain: &str) -> Result<NodeName, (String, String)> {
    let name: NodeName = text.parse().map_err(|error: crate::ident::BadName| {
        let hint = "use 1 to 63 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen";
        (format!("`{}` is not a valid name", error.0), hint.to_owned())
    })?;
    if text == "localhost" {
        let hint = "choose another name".to_owned();
        return Err(("`localhost` always means the machine itself".to_owned(), hint));
    }
    if text == domain {
        let hint = "rename the node, or choose another `network.domain`".to_owned();
        return Err((format!("`{text}` is also the domain of the lab"), hint));
    }
    Ok(name)
}
