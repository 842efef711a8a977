//! What has changed since a snapshot.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use labctl_lab::home::LabHome;
use labctl_lab::record::Record;
use labctl_lab::snapshot::Snapshot;
use labctl_machine::disk;
use labctl_spec::lab::Lab;
use serde::Serialize;

/// What differs between a snapshot and the lab now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Nodes and machines that differ, one line each.
    pub nodes: Vec<String>,
    /// Node, and bytes that it has written to its disk since; none if its disk is not based on the snapshot.
    pub disks: Vec<(String, Option<u64>)>,
    /// The lab file's text then and now, if it differs.
    pub lab_file: Option<(String, String)>,
}

/// Compares a snapshot with the lab.
pub fn diff(home: &LabHome, snapshot: &Snapshot, now: &Record) -> Difference {
    let lab_file = fs::read_to_string(&now.lab.file).unwrap_or_default();
    let disks = snapshot.nodes.iter().map(|(name, saved)| (name.to_string(), written(&home.node(name).join("disk.qcow2"), &saved.layer)));
    Difference {
        nodes: machines(&snapshot.record.lab, &now.lab),
        disks: disks.collect(),
        lab_file: (snapshot.lab_file != lab_file).then(|| (snapshot.lab_file.clone(), lab_file)),
    }
}

/// The differences between a snapshot's machines and the lab's, one line each: what a restored guest cannot be told.
pub(super) fn machines(then: &Lab, now: &Lab) -> Vec<String> {
    let mut lines = Vec::new();
    if !then.network.is_same_wire(&now.network) {
        lines.push("the network changed".to_owned());
    }
    for node in &now.nodes {
        let Some(old) = then.node(&node.name) else {
            lines.push(format!("{} is new", node.name));
            continue;
        };
        let mut differ = |what: &str, differs: bool| {
            if differs {
                lines.push(format!("{}: its {what} changed", node.name));
            }
        };
        differ("image", old.image != node.image);
        differ("number of CPUs", old.cpus != node.cpus);
        differ("memory", old.memory != node.memory);
        differ("disk", old.disk != node.disk);
        differ("address", old.address != node.address);
    }
    lines.extend(then.nodes.iter().filter(|node| now.node(&node.name).is_none()).map(|node| format!("{} is gone", node.name)));
    lines
}

/// What a restored lab has from the lab file as it is now, because it changed since the snapshot, and what it does not have yet.
pub(super) fn applied(then: &Lab, now: &Lab) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |whose: &str, parts: &[(&str, bool)]| {
        let changed: Vec<&str> = parts.iter().filter_map(|(what, differs)| differs.then_some(*what)).collect();
        if !changed.is_empty() {
            lines.push(format!("{whose} {} are those of the lab file, which changed since the snapshot", changed.join(" and ")));
        }
    };
    let (old, new) = (&then.network, &now.network);
    let outside =
        [("proxies", old.proxy != new.proxy), ("certificate authorities", old.ca != new.ca), ("IPv6 addresses", old.ipv6 != new.ipv6)];
    tell("the network's", &outside);
    for node in &now.nodes {
        let Some(old) = then.node(&node.name) else { continue };
        let whose = format!("{}: its", node.name);
        tell(
            &whose,
            &[
                ("published ports", old.publish != node.publish),
                ("names", old.hostnames != node.hostnames),
                ("accounts", old.user != node.user),
            ],
        );
    }
    if then.provision != now.provision {
        lines.push("the lab file's plays changed since the snapshot; `labctl provision` runs them".to_owned());
    }
    lines
}

/// Bytes in the layers of `disk` above `layer`.
fn written(disk: &Path, layer: &Path) -> Option<u64> {
    let (mut next, mut bytes) = (disk.to_owned(), 0);
    while next != layer {
        bytes += fs::metadata(&next).ok()?.blocks() * 512;
        next = disk::backing(&next).ok()??;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restored_lab_has_from_its_file_is_told() {
        let lab = |text: &str| labctl_spec::parse_lab(text, Path::new("/t.yml")).unwrap();
        let then = lab("name: t\nnodes: [{name: a}, {name: b, hostnames: [old.test]}]\n");
        assert!(applied(&then, &then).is_empty());
        let now = lab(
            "name: t\nnodes: [{name: a, publish: [80]}, {name: b, publish: [81], hostnames: [new.test]}]\nprovision: [{hosts: all, tasks: []}]\n",
        );
        let told = applied(&then, &now);
        assert!(
            told[0].starts_with("a: its published ports are") && told[1].starts_with("b: its published ports and names are"),
            "{told:?}"
        );
        assert!(told[2].contains("`labctl provision`"), "{told:?}");
        assert!(machines(&then, &now).is_empty());
    }

    #[test]
    fn what_guests_can_be_told_does_not_keep_a_snapshot_from_being_restored() {
        let lab = |network: &str| {
            let text = format!("name: t\nnetwork: {{subnet: 10.5.0.0/24{network}}}\nnodes: [{{name: a}}]\n");
            labctl_spec::parse_lab(&text, Path::new("/t.yml")).unwrap()
        };
        // As snapshots of older versions are, which had no IPv6.
        let then = lab(", ipv6: false");
        let now = lab(", proxy: 'http://p:3128'");
        assert!(machines(&then, &now).is_empty());
        assert_eq!(
            applied(&then, &now),
            ["the network's proxies and IPv6 addresses are those of the lab file, which changed since the snapshot"]
        );
        assert_eq!(machines(&then, &lab(", internet: false")), ["the network changed"]);
    }
}
