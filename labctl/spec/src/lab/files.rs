//! Paths on the host that the lab file refers to: playbooks, and what they have in common with synced paths.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{LabFile, Node, Provision, ProvisionFile};
use crate::check::nearest;
use crate::report::Report;

/// Makes a path written in a file of `folder` absolute; removes single dots.
pub(crate) fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

/// Why a path on the host cannot be used.
pub(super) fn missing(path: &Path, written: &Path) -> (String, String) {
    let hint = if written.starts_with("~") {
        "`~` is not expanded: write the full path, or one relative to this file".to_owned()
    } else {
        "the path is relative to this file; create it or correct it".to_owned()
    };
    (format!("{} does not exist", path.display()), hint)
}

/// The provisioning steps.
pub(super) fn provision(plain: &LabFile, nodes: &[Node], folder: &Path, report: &mut Report) -> Vec<Provision> {
    let mut known: BTreeSet<&str> = BTreeSet::from(["all"]);
    for node in nodes {
        known.insert(node.name.as_str());
        known.extend(node.groups.iter().map(String::as_str));
    }
    let mut steps = Vec::new();
    for (index, step) in plain.provision.iter().enumerate() {
        let at = format!("/provision/{index}");
        match step {
            ProvisionFile::Playbook(path) => {
                let file = absolute(folder, path);
                if file.is_dir() {
                    report.add(&at, format!("{} is a folder", file.display()), "name a playbook in it");
                } else if !file.exists() {
                    let (reason, hint) = missing(&file, path);
                    report.add(&at, reason, hint);
                }
                steps.push(Provision::Playbook(file));
            }
            ProvisionFile::Play(play) => {
                self::play(play, &at, &known, report);
                steps.push(Provision::InLabFile { index });
            }
        }
    }
    steps
}

/// A play needs `hosts`; a plain name in it must be a node or a group.
fn play(play: &Map<String, Value>, at: &str, known: &BTreeSet<&str>, report: &mut Report) {
    if play.contains_key("import_playbook") || play.contains_key("ansible.builtin.import_playbook") {
        let hint = "write the path of the playbook as the entry itself: `- site.yml`";
        report.add(at, "`import_playbook` is for playbooks", hint);
        return;
    }
    let Some(hosts) = play.get("hosts") else {
        report.add(at, "the play has no `hosts`", "add `hosts: all`, or give groups or nodes");
        return;
    };
    let at = format!("{at}/hosts");
    let names: Vec<(String, &str)> = match hosts {
        Value::String(text) => text.split(',').map(|name| (at.clone(), name.trim())).collect(),
        Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
            items.iter().enumerate().filter_map(|(position, item)| Some((format!("{at}/{position}"), item.as_str()?))).collect()
        }
        _ => {
            report.add(&at, "`hosts` must be text or a list of text", "write `hosts: all`, or give groups or nodes");
            return;
        }
    };
    for (at, name) in names {
        // The provisioning engine checks patterns (`a:&b`, `client*`, templates).
        let simple = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        // A node that was dropped because of a fault may have the name.
        let complete = !report.is_faulty("/nodes");
        if simple && name != "localhost" && name != "ungrouped" && !known.contains(name) && complete {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", crate::check::list(known.iter().copied())),
            };
            report.add(&at, format!("no node or group is called `{name}`"), hint);
        }
    }
}
