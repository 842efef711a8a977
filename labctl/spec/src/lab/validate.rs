//! From the plain lab file to the validated [`Lab`]; every check adds its faults and continues.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Lab, LabFile, Node, NodeFile, addresses, expand, files, groups, hostnames, network, publish, sync, user};
use crate::names;
use crate::report::Report;
use crate::size::Size;

/// Minimum memory of a node: with less, Debian's kernel and initrd do not boot.
const LEAST_MEMORY: Size = Size::mib(128);
/// Maximum memory of a node: more than any laptop has, so probably a wrong unit.
const MOST_MEMORY: Size = Size(1 << 40);
const DEFAULT_MEMORY: Size = Size::mib(512);
/// Minimum disk of a node: enough for a small system.
const LEAST_DISK: Size = Size(1 << 30);
/// Maximum disk of a node: the limit of ext4 with 4 KiB blocks.
const MOST_DISK: Size = Size(16 << 40);
const DEFAULT_DISK: Size = Size(8 << 30);

/// Validates; the result is only valid if the report has no faults.
pub(super) fn lab(plain: LabFile, file: &Path, report: &mut Report) -> Lab {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));

    image(&plain.image, "/image", report);
    variables(&plain.variables, "", report);
    let labs_user = plain.user.as_ref().map(|written| user::user(written, "/user", folder, report));
    let network = network::network(&plain, folder, report);
    let machines = expand::machines(&plain.nodes, &network.domain, report);
    let addresses = addresses::addresses(&plain, &machines, &network, report);
    let macs = addresses::macs(plain.name.as_str(), &machines);
    let hostnames = hostnames::hostnames(&plain.nodes, &machines, &network.domain, report);
    groups::groups(&plain, &machines, report);

    let entries = plain.nodes.iter().enumerate().map(|(index, node)| entry(node, index, folder, report));
    let entries: Vec<Entry> = entries.collect();
    let rest = machines.into_iter().zip(addresses).zip(macs).zip(hostnames);
    let nodes: Vec<Node> = rest
        .enumerate()
        .filter_map(|(position, (((machine, address), mac), hostnames))| {
            let (written, entry) = (plain.nodes.get(machine.entry)?, entries.get(machine.entry)?);
            Some(Node {
                name: machine.name,
                position: u32::try_from(position).ok()?,
                address,
                mac,
                image: written.image.clone().unwrap_or_else(|| plain.image.clone()),
                cpus: written.cpus.unwrap_or(1),
                memory: written.memory.unwrap_or(DEFAULT_MEMORY),
                disk: written.disk.unwrap_or(DEFAULT_DISK),
                user: entry.user.clone().or_else(|| labs_user.clone()),
                hostnames,
                groups: written.groups.clone(),
                publish: entry.publish.clone(),
                sync: entry.sync.clone(),
                variables: written.variables.clone(),
            })
        })
        .collect();
    let provision = files::provision(&plain, &nodes, folder, report);
    let with_variables = plain.groups.into_iter().filter(|(_, group)| !group.variables.is_empty());
    Lab {
        name: plain.name,
        autostart: plain.autostart.unwrap_or(false),
        network: network.network,
        nodes,
        variables: plain.variables,
        group_variables: with_variables.map(|(name, group)| (name, group.variables)).collect(),
        provision,
        file,
    }
}

/// What all machines of one `nodes` entry share.
struct Entry {
    user: Option<super::User>,
    publish: Vec<super::Publish>,
    sync: Vec<super::Sync>,
}

fn entry(node: &NodeFile, index: usize, folder: &Path, report: &mut Report) -> Entry {
    let at = format!("/nodes/{index}");
    if let Some(name) = &node.image {
        image(name, &format!("{at}/image"), report);
    }
    if let Some(memory) = node.memory {
        size("memory", memory, (LEAST_MEMORY, MOST_MEMORY), &format!("{at}/memory"), report);
    }
    if let Some(disk) = node.disk {
        size("disk", disk, (LEAST_DISK, MOST_DISK), &format!("{at}/disk"), report);
    }
    variables(&node.variables, &at, report);
    Entry {
        user: node.user.as_ref().map(|written| user::user(written, &format!("{at}/user"), folder, report)),
        publish: publish::publish(&node.publish, &at, report),
        sync: sync::sync(&node.sync, &at, folder, report),
    }
}

fn size(what: &str, size: Size, (least, most): (Size, Size), at: &str, report: &mut Report) {
    let wrong = if size < least {
        "too small"
    } else if size > most {
        "too large"
    } else {
        return;
    };
    let mut hint = format!("allowed: {least} to {most}");
    // `memory: 512` means 512 bytes, which is never intended.
    let meant = Size::mib(size.0.min(most.as_mib()));
    if size < Size(1 << 20) && meant >= least {
        hint = format!("a bare number is bytes: did you mean `{}M`? {hint}", size.0);
    }
    report.add(at, format!("{size} of {what} is {wrong}"), hint);
}

/// Reports images that are not in `known`.
pub(super) fn images(plain: &LabFile, known: &[String], report: &mut Report) {
    let written = plain.nodes.iter().enumerate().filter_map(|(index, node)| Some((node.image.as_ref()?, format!("/nodes/{index}/image"))));
    // The lab's own image matters only if a node uses it.
    let lab = plain.nodes.iter().any(|node| node.image.is_none()).then(|| (&plain.image, "/image".to_owned()));
    for (name, at) in lab.into_iter().chain(written) {
        // An invalid image name is reported elsewhere.
        if names::is_stem(name) && !known.contains(name) {
            report.add(&at, format!("there is no image `{name}`"), format!("known images: {}", known.join(", ")));
        }
    }
}

fn image(name: &str, at: &str, report: &mut Report) {
    if !names::is_stem(name) {
        let hint = "give the name of a file in `images/` without its extension, such as `debian-12`";
        report.add(at, format!("`{name}` is not the name of an image"), hint);
    }
}

/// Checks the names of the variables in the mapping at `at`.
pub(super) fn variables(variables: &Map<String, Value>, at: &str, report: &mut Report) {
    for name in variables.keys().filter(|name| !names::is_variable(name)) {
        let hint = "use letters, digits and underscores, beginning with a letter or underscore";
        report.add_key(&format!("{at}/variables"), name, format!("`{name}` is not a valid variable name"), hint);
    }
}
