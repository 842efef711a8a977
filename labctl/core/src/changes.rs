//! What a changed lab file means for existing nodes: what `up` applies at once, what needs a restart, what needs a new node, and what it
//! must refuse because a running guest would lose its network.

use std::collections::BTreeMap;

use labctl_image::BootImage;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::LabHome;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind, node_folder, persist};
use labctl_machine::disk;
use labctl_machine::machine::{Machine, is_running};
use labctl_machine::registry;
use labctl_spec::lab::{Lab, Node};
use labctl_spec::size::Size;

/// Whether the node's machine runs.
pub fn runs(home: &LabHome, record: &Record, node: &Node) -> bool {
    match persist::read_json::<Machine>(&node_folder::machine(&home.node(&node.name))) {
        Ok(Some(machine)) => registry::runs(&machine),
        // Its lock tells as well.
        _ => is_running(&record.files(home, node)).unwrap_or(false),
    }
}

/// Refuses a lab file whose network cannot be applied while machines run. Nothing has been changed at that point.
pub fn refuse(home: &LabHome, kept: &Record, lab: &Lab) -> Result<(), Failure> {
    let running: Vec<&Node> = kept.existing().filter(|node| runs(home, kept, node)).collect();
    match obstacles(&kept.lab, lab, &running) {
        None => Ok(()),
        Some((message, hint)) => {
            Err(Failure::new(Kind::Conflict, format!("{}: {message}", lab.file.display())).hint(format!("nothing was changed; {hint}")))
        }
    }
}

/// What prevents the change, and the remedy.
fn obstacles(kept: &Lab, lab: &Lab, running: &[&Node]) -> Option<(String, String)> {
    if running.is_empty() {
        return None;
    }
    let names = |nodes: &[&Node]| nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    if !kept.network.is_same_wire(&lab.network) {
        let (old, new) = (&kept.network, &lab.network);
        let mut changes = Vec::new();
        let mut note = |what: &str, old: String, new: String| {
            if old != new {
                changes.push(format!("network.{what}: {old} -> {new}"));
            }
        };
        note("subnet", old.subnet.to_string(), new.subnet.to_string());
        note("domain", old.domain.clone(), new.domain.clone());
        note("internet", old.internet.to_string(), new.internet.to_string());
        note("host_loopback", old.host_loopback.to_string(), new.host_loopback.to_string());
        let message = format!("the network cannot change while nodes are running ({}): {}", names(running), changes.join(", "));
        return Some((message, "`labctl reload` shuts all nodes down and starts them in the new network".to_owned()));
    }
    let mut moved = Vec::new();
    for node in running {
        if let Some(new) = lab.node(&node.name).filter(|new| new.address != node.address) {
            moved.push(format!("{}: {} -> {}", node.name, node.address, new.address));
        }
    }
    if !moved.is_empty() {
        let message = format!("the addresses of running nodes would change: {}", moved.join(", "));
        let hint =
            "set `address:` to keep them (without it, addresses follow the order of the nodes), or run `labctl halt` and `labctl up`";
        return Some((message, hint.to_owned()));
    }
    let taken = |left: &&&Node| lab.node(&left.name).is_none() && lab.nodes.iter().any(|node| node.address == left.address);
    let left: Vec<&Node> = running.iter().filter(taken).copied().collect();
    if !left.is_empty() {
        let message = format!("running nodes are no longer in the file, and their addresses are given to others: {}", names(&left));
        return Some((message, format!("labctl destroy {}", names(&left).replace(", ", " "))));
    }
    None
}

/// Reports what in the lab file has not taken effect yet, and which command applies it.
pub fn report(home: &LabHome, record: &Record, images: &BTreeMap<String, BootImage>, each: Each<'_>) -> Result<(), Failure> {
    for node in &record.lab.nodes {
        if node_folder::is_new(home, &node.name) {
            continue;
        }
        let folder = home.node(&node.name);
        let machine = persist::read_json::<Machine>(&node_folder::machine(&folder))?.filter(registry::runs);
        let image = persist::read_json::<BootImage>(&folder.join("image.json"))?;
        let disk = disk::virtual_size(&folder.join("disk.qcow2")).ok();
        let found = Found { machine: machine.map(|machine| (machine.cpus, machine.memory)), disk, image: image.map(|image| image.id) };
        for text in pending(node, &found, images.get(&node.image)) {
            each(Event::Warning { text });
        }
    }
    for node in &record.left {
        let state = if runs(home, record, node) { "runs" } else { "exists" };
        let name = &node.name;
        each(Event::Warning {
            text: format!("{name} is no longer in the lab file, but still {state}; `labctl destroy {name}` removes it"),
        });
    }
    Ok(())
}

/// The current state of a node.
struct Found {
    /// Virtual CPUs and memory of its running machine.
    machine: Option<(u32, Size)>,
    /// Size of its disk.
    disk: Option<Size>,
    /// Id of the image that its disk is based on.
    image: Option<String>,
}

fn pending(node: &Node, found: &Found, image: Option<&BootImage>) -> Vec<String> {
    let name = &node.name;
    let mut restart = Vec::new();
    let mut anew = Vec::new();
    if let Some((cpus, memory)) = found.machine {
        if cpus != node.cpus {
            restart.push(format!("cpus {cpus} -> {}", node.cpus));
        }
        if memory != node.memory {
            restart.push(format!("memory {memory} -> {}", node.memory));
        }
    }
    if let Some(disk) = found.disk {
        let least = image.map_or(0, |image| image.virtual_size);
        if disk < node.disk {
            restart.push(format!("disk {disk} -> {}", node.disk));
        } else if disk > node.disk && disk.0 > least {
            anew.push(format!("disk {disk} -> {} (a disk cannot shrink)", node.disk));
        }
    }
    if let (Some(has), Some(image)) = (&found.image, image)
        && *has != image.id
    {
        anew.push(format!("image `{}` is not the image that its disk was made from", node.image));
    }
    let mut said = Vec::new();
    if !restart.is_empty() {
        said.push(format!("{name}: {}: `labctl reload {name}` applies this", restart.join(", ")));
    }
    if !anew.is_empty() {
        said.push(format!("{name}: {}: it keeps what it has until `labctl destroy {name} && labctl up {name}`", anew.join(", ")));
    }
    said
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lab(text: &str) -> Lab {
        labctl_spec::parse_lab(text, Path::new("/lab.yml")).unwrap()
    }

    #[test]
    fn what_would_cut_running_guests_off_is_refused() {
        let kept = lab("name: t\nnodes: [{name: a}, {name: b}]\n");
        let running: Vec<&Node> = kept.nodes.iter().collect();
        let refused = |text: &str| obstacles(&kept, &lab(text), &running).map(|(message, _)| message);
        assert_eq!(refused("name: t\nnodes: [{name: a}, {name: b}, {name: c}]\n"), None, "a node more at the end");
        assert_eq!(refused("name: t\nnodes: [{name: a, cpus: 4}]\n"), None, "a node less at the end");
        let proxy = "name: t\nnetwork: {proxy: 'http://u:secret@p:3128'}\nnodes: [{name: a}, {name: b}]\n";
        assert_eq!(refused(proxy), None, "guests are told");
        let before = refused("name: t\nnodes: [{name: x}, {name: a}, {name: b}]\n").unwrap();
        assert!(before.contains("a: ") && before.contains(" -> ") && before.contains("b: "), "{before}");
        let network = refused("name: t\nnetwork: {internet: false}\nnodes: [{name: a}, {name: b}]\n").unwrap();
        assert!(network.contains("network.internet: true -> false") && network.contains("(a, b)"), "{network}");
        let taken = refused("name: t\nnodes: [{name: a}, {name: c}]\n").unwrap();
        assert!(taken.ends_with("given to others: b"), "{taken}");
        assert_eq!(obstacles(&kept, &lab("name: t\nnetwork: {domain: x.y}\nnodes: [{name: z}]\n"), &[]), None, "nothing runs");
    }

    #[test]
    fn what_is_not_in_force_is_told_with_the_command() {
        let lab = lab("name: t\nnodes: [{name: a, cpus: 2, memory: 1G, disk: 4G}]\n");
        let found = |cpus, memory, disk| Found { machine: Some((cpus, Size::mib(memory))), disk: Some(Size::mib(disk)), image: None };
        let said = |found| pending(&lab.nodes[0], &found, None).join("\n");
        assert_eq!(said(found(2, 1024, 4096)), "");
        assert_eq!(said(found(1, 512, 2048)), "a: cpus 1 -> 2, memory 512M -> 1G, disk 2G -> 4G: `labctl reload a` applies this");
        assert!(said(found(2, 1024, 8192)).contains("cannot shrink"));
        assert_eq!(said(Found { machine: None, disk: Some(Size::mib(4096)), image: None }), "");
    }
}
