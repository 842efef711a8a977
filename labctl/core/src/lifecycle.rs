//! Up, halt, destroy, status: the commands' side of a lab's life.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use labctl_lab::client::Supervisor;
use labctl_lab::control::{Call, LabStatus, LifeStatus, NodeStatus, Up};
use labctl_lab::event::{Each, Event, NodeState};
use labctl_lab::home::{Home, LabHome};
use labctl_lab::life::Life;
use labctl_lab::record::{self, Record};
use labctl_lab::template::Plan;
use labctl_lab::work::turn;
use labctl_lab::{Failure, node_folder, snapshot};
use labctl_machine::qemu::found;
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::Lab;

use crate::basis::Basis;
use crate::{changes, host, host_keys, layer, openness, template, unattended};

/// How new nodes come up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Birth {
    /// Forked from templates.
    #[default]
    Fork,
    /// Forked from baked layers where available, otherwise from templates.
    Layered,
    /// Booted.
    Cold,
}

/// Brings nodes up (all if `nodes` is empty) until their agents answer.
pub async fn up(home: &Home, lab: Lab, nodes: &[NodeName], birth: Birth, each: Each<'_>) -> Result<Supervisor, Failure> {
    up_on(home, lab, nodes, birth, None, each).await
}

/// The same with a basis that was determined before, if given.
pub(crate) async fn up_on(
    home: &Home,
    lab: Lab,
    nodes: &[NodeName],
    birth: Birth,
    basis: Option<Basis>,
    each: Each<'_>,
) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(&lab.name);
    let name = lab.name.clone();
    host::check(home, &lab)?;
    for text in openness::of(home) {
        each(Event::Warning { text });
    }
    let kept = Record::load(&lab_home)?;
    let network_changed = kept.as_ref().is_some_and(|kept| !kept.lab.network.is_same_wire(&lab.network));
    if let Some(kept) = &kept {
        changes::refuse(&lab_home, kept, &lab)?;
    }
    let keys = host_keys::begin(home, kept.as_ref(), &lab);
    let basis = match basis {
        Some(basis) => basis,
        None => Basis::find(home, &lab, each).await?,
    };
    if !basis.accel.why.is_empty() {
        let (name, why) = (basis.accel.accel.as_str(), &basis.accel.why);
        each(Event::Note { text: format!("machines are emulated ({name}): {why}; everything works, but ten times slower") });
    }
    let mut record = settle_record(home, lab).await?;
    for node in nodes {
        record.node(node)?;
    }
    if network_changed && let Some(supervisor) = Supervisor::running(&lab_home).await {
        // Its switch is on the old network, and no machine is left on it.
        supervisor.leave().await?;
    }
    let nodes: Vec<NodeName> = match nodes.is_empty() {
        true => record.lab.nodes.iter().map(|node| node.name.clone()).collect(),
        false => nodes.to_vec(),
    };
    let templates = match birth {
        Birth::Cold => Plan::default(),
        Birth::Fork | Birth::Layered => {
            let new: Vec<NodeName> = nodes.iter().filter(|node| node_folder::is_new(&lab_home, node)).cloned().collect();
            let mut plan = template::prepare(home, &record, &new, &basis, each).await?;
            if birth == Birth::Layered {
                layer::choose(home, &record, &mut plan, each).await?;
            }
            plan
        }
    };
    let supervisor = Supervisor::ensure(&lab_home, &name, each).await?;
    keys.finish(&lab_home, &mut record, each).await?;
    let (driver, accel) = (basis.driver.clone(), basis.accel.accel);
    let up = Up { record: record.clone(), nodes, images: basis.images.clone(), driver, accel, templates };
    supervisor.run(&Call::Up(Box::new(up)), each).await?;
    changes::report(&lab_home, &record, &basis.images, each)?;
    Ok(supervisor)
}

/// Fixes the values that must no longer change for the lab, and records them.
pub(crate) async fn settle_record(home: &Home, lab: Lab) -> Result<Record, Failure> {
    // Two labs may be brought up at once; each must see what the other has taken.
    let _turn = turn(home).await?;
    let lab_home = home.lab(&lab.name);
    let record = Record::prepare(home, lab)?;
    lab_home.make()?;
    record.save(&lab_home)?;
    Ok(record)
}

/// Stops nodes (all if `nodes` is empty); those that do not run stay as they are.
pub async fn halt(home: &Home, lab: &LabName, nodes: &[NodeName], force: bool, each: Each<'_>) -> Result<(), Failure> {
    let lab_home = home.lab(lab);
    let Some(record) = Record::load(&lab_home)? else { return Ok(()) };
    for node in nodes {
        record.node(node)?;
    }
    // Once halted, a suspended lab is off like any other.
    snapshot::forget_suspended(&lab_home)?;
    // Machines may run even without a supervisor: a new one adopts them.
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    supervisor.run(&Call::Halt { nodes: nodes.to_vec(), force }, each).await
}

/// [`halt`] for those nodes that were ever brought up; the lab file may name others.
pub async fn halt_existing(home: &Home, lab: &LabName, nodes: &[NodeName], force: bool, each: Each<'_>) -> Result<(), Failure> {
    let Some(record) = Record::load(&home.lab(lab))? else { return Ok(()) };
    let known: Vec<NodeName> = nodes.iter().filter(|node| record.node(node).is_ok()).cloned().collect();
    if known.is_empty() && !nodes.is_empty() {
        return Ok(());
    }
    halt(home, lab, &known, force, each).await
}

/// Stops nodes and removes their disks; without nodes, removes the whole lab.
pub async fn destroy(home: &Home, lab: &LabName, nodes: &[NodeName], each: Each<'_>) -> Result<(), Failure> {
    let lab_home = home.lab(lab);
    if !lab_home.folder().exists() {
        return Ok(());
    }
    if Record::load(&lab_home)?.is_some() {
        halt(home, lab, nodes, true, each).await?;
    }
    // A machine whose files are gone could not be found by any command.
    match nodes.is_empty() {
        true => end_left(&[lab_home.folder().to_owned()], each).await?,
        false => end_left(&nodes.iter().map(|node| lab_home.node(node)).collect::<Vec<_>>(), each).await?,
    }
    if !nodes.is_empty() {
        for node in nodes {
            remove(&lab_home.node(node))?;
        }
        return forget(&lab_home, nodes);
    }
    if let Some(supervisor) = Supervisor::running(&lab_home).await {
        // It may exit by itself at this moment.
        let _ = supervisor.leave().await;
    }
    lab_home.remove_sockets()?;
    // The record is removed last: as long as it exists, a repeated `destroy` finds the lab.
    remove(&lab_home.folder().join("nodes"))?;
    remove(lab_home.folder())?;
    snapshot::sweep(home)
}

/// Ends machines with files in these folders that the supervisor does not know, because what is recorded of them is damaged.
async fn end_left(folders: &[PathBuf], each: Each<'_>) -> Result<(), Failure> {
    for machine in found::below(folders) {
        machine.end().await?;
        each(Event::Warning { text: format!("machine {} (process {}) was still running and was ended", machine.label, machine.pid) });
    }
    Ok(())
}

/// Removes nodes from the record that the lab file no longer names: now they are gone.
fn forget(home: &LabHome, nodes: &[NodeName]) -> Result<(), Failure> {
    let Some(mut record) = Record::load(home)? else { return Ok(()) };
    let before = record.left.len();
    record.left.retain(|left| !nodes.contains(&left.name));
    if record.left.len() < before { record.save(home) } else { Ok(()) }
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(folder.display())(why)),
        _ => Ok(()),
    }
}

/// The lab's state. Asks the supervisor if one runs; without one, no machine is managed.
pub async fn status(home: &Home, lab: &Lab) -> Result<LabStatus, Failure> {
    let lab_home = home.lab(&lab.name);
    if let Some(supervisor) = Supervisor::running(&lab_home).await {
        return supervisor.status().await;
    }
    let record = Record::load(&lab_home)?;
    let existing = record.as_ref().map(Record::existing_lab);
    let lab = existing.as_ref().unwrap_or(lab);
    let supervised = Supervisor::exists(&lab_home);
    let node = async |node: &labctl_spec::lab::Node| {
        let folder = lab_home.node(&node.name);
        let running = record.as_ref().is_some_and(|record| changes::runs(&lab_home, record, node));
        let state = match (running, folder.join("disk.qcow2").exists()) {
            // One of another version, or one that is about to listen.
            (true, _) if supervised => NodeState::Running,
            (true, _) => unattended::state(&folder).await,
            (false, true) if snapshot::is_suspended(&lab_home) => NodeState::Suspended,
            (false, true) => NodeState::Off,
            (false, false) => NodeState::Absent,
        };
        NodeStatus {
            name: node.name.clone(),
            state,
            address: node.address,
            address6: lab.network.ipv6_of(node.address),
            loopback: record.as_ref().map_or(std::net::Ipv4Addr::UNSPECIFIED, |record| record.loopback(node)),
            hostnames: record::names(node).split_off(1),
            groups: node.groups.clone(),
            published: Vec::new(),
            published_udp: Vec::new(),
            pid: None,
            memory_mib: node.memory.as_mib(),
            cpus: node.cpus,
            left: record.as_ref().is_some_and(|record| record.lab.node(&node.name).is_none()),
            life: if running { Life::of_unattended(&folder).map(|life| life.status()).unwrap_or_default() } else { LifeStatus::default() },
        }
    };
    // Side by side: one that does not answer is waited for.
    let nodes =
        join_all(lab.nodes.iter().map(node)).await.into_iter().filter(|node| !node.left || node.state != NodeState::Absent).collect();
    Ok(LabStatus { lab: lab.name.to_string(), supervisor: None, accel: None, nodes, failed_restore: snapshot::failed_restore(&lab_home) })
}
