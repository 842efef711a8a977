//! Up, halt, destroy, status: the commands' side of a lab's life.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use labctl_machine::{accel, qemu};
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::Lab;

use crate::client::Supervisor;
use crate::control::{Call, LabStatus, LifeStatus, NodeStatus, Up};
use crate::event::{Event, NodeState};
use crate::home::{Home, LabHome};
use crate::record::{self, Record};
use crate::supervisor::life;
use crate::template::Plan;
use crate::{Failure, Kind, changes, host, images, layer, snapshot, supervisor, template};

/// Takes events as they happen.
pub type Each<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Held while a command changes a lab; other commands wait.
pub struct Work {
    _lock: File,
}

impl Work {
    /// Waits for its turn.
    pub async fn begin(home: &LabHome, each: Each<'_>) -> Result<Self, Failure> {
        home.make()?;
        let path = home.work_lock();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Failure::io(path.display()))?;
        if file.try_lock().is_err() {
            each(Event::Note { text: "another labctl command is at work on this lab; waiting for it".into() });
        }
        let wait = move || file.lock().map(|()| file);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
        let mut file = waited.map_err(Failure::io(path.display()))?;
        // Only for those who ask who it is; the lock itself is what counts.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Failure::io(path.display()))?;
        Ok(Self { _lock: file })
    }

    /// Process id of another process that is at work on the lab; none if none is, or this one.
    pub fn of_another(home: &LabHome) -> Result<Option<u32>, Failure> {
        let path = home.work_lock();
        let file = match File::open(&path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Failure::io(path.display()))?,
        };
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        // An older labctl wrote no number; 0 is nobody's.
        let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Some(holder).filter(|holder| *holder != std::process::id()))
    }
}

/// How new nodes come up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Birth {
    /// Forked from templates.
    #[default]
    Fork,
    /// Forked from baked layers, where there are any, or else from templates.
    Layered,
    /// Booted.
    Cold,
}

/// Brings nodes up (all if `nodes` is empty) until their agents answer.
pub async fn up(home: &Home, lab: Lab, nodes: &[NodeName], birth: Birth, each: Each<'_>) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(&lab.name);
    let name = lab.name.clone();
    host::check(home, &lab)?;
    let accel = accel::find(&home.accel(), &qemu::version(&home.qemu()).await?, home.scratch()).await?;
    if !accel.why.is_empty() {
        each(Event::Note {
            text: format!("machines are emulated ({}): {}; everything works, ten times slower", accel.accel.as_str(), accel.why),
        });
    }
    let kept = Record::load(&lab_home)?;
    let network_changed = kept.as_ref().is_some_and(|kept| kept.lab.network != lab.network);
    if let Some(kept) = &kept {
        changes::refuse(&lab_home, kept, &lab)?;
    }
    let images = images::prepare(home, &lab, each).await?;
    let record = settle_record(home, lab).await?;
    for node in nodes {
        record.node(node)?;
    }
    if network_changed && let Some(supervisor) = Supervisor::running(&lab_home).await {
        // Its switch is the old network's, and no machine is left on it.
        supervisor.leave().await?;
    }
    let nodes: Vec<NodeName> = match nodes.is_empty() {
        true => record.lab.nodes.iter().map(|node| node.name.clone()).collect(),
        false => nodes.to_vec(),
    };
    let templates = match birth {
        Birth::Cold => Plan::default(),
        Birth::Fork | Birth::Layered => {
            let new: Vec<NodeName> = nodes.iter().filter(|node| supervisor::is_new(&lab_home, node)).cloned().collect();
            let mut plan = template::prepare(home, &record, &new, &images, accel.accel, each).await?;
            if birth == Birth::Layered {
                layer::choose(home, &record, &mut plan, each).await?;
            }
            plan
        }
    };
    let supervisor = Supervisor::ensure(&lab_home, &name, each).await?;
    let up = Up { record: record.clone(), nodes, images: images.clone(), accel: accel.accel, templates };
    let call = Call::Up(Box::new(up));
    supervisor.run(&call, each).await?;
    changes::report(&lab_home, &record, &images, each)?;
    Ok(supervisor)
}

/// Chooses for the lab what must not change any more, and notes it.
pub(crate) async fn settle_record(home: &Home, lab: Lab) -> Result<Record, Failure> {
    // Two labs may be brought up at once; each must see what the other has taken.
    let _turn = turn(home).await?;
    let lab_home = home.lab(&lab.name);
    let record = Record::prepare(home, lab)?;
    lab_home.make()?;
    record.save(&lab_home)?;
    Ok(record)
}

/// Held for the moment in which a lab chooses what no other lab may have.
pub(crate) async fn turn(home: &Home) -> Result<File, Failure> {
    let path = home.labs().join(".turn");
    fs::create_dir_all(home.labs()).map_err(Failure::io(home.labs().display()))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Failure::io(path.display()))?;
    let wait = move || file.lock().map(|()| file);
    let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
    waited.map_err(Failure::io(path.display()))
}

/// Ends nodes (all if `nodes` is empty); those that do not run stay as they are.
pub async fn halt(home: &Home, lab: &LabName, nodes: &[NodeName], force: bool, each: Each<'_>) -> Result<(), Failure> {
    let lab_home = home.lab(lab);
    let Some(record) = Record::load(&lab_home)? else { return Ok(()) };
    for node in nodes {
        record.node(node)?;
    }
    // Halted, a suspended lab is off like any other.
    snapshot::forget_suspended(&lab_home)?;
    // Even if no supervisor runs, machines may: a new one adopts them.
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    supervisor.run(&Call::Halt { nodes: nodes.to_vec(), force }, each).await
}

/// [`halt`] of those nodes that were ever brought up; the lab file may name others.
pub async fn halt_existing(home: &Home, lab: &LabName, nodes: &[NodeName], force: bool, each: Each<'_>) -> Result<(), Failure> {
    let Some(record) = Record::load(&home.lab(lab))? else { return Ok(()) };
    let known: Vec<NodeName> = nodes.iter().filter(|node| record.node(node).is_ok()).cloned().collect();
    if known.is_empty() && !nodes.is_empty() {
        return Ok(());
    }
    halt(home, lab, &known, force, each).await
}

/// Ends nodes and removes their disks; without nodes the whole lab, of which nothing stays.
pub async fn destroy(home: &Home, lab: &LabName, nodes: &[NodeName], each: Each<'_>) -> Result<(), Failure> {
    let lab_home = home.lab(lab);
    if !lab_home.folder().exists() {
        return Ok(());
    }
    if Record::load(&lab_home)?.is_some() {
        halt(home, lab, nodes, true, each).await?;
    }
    if !nodes.is_empty() {
        for node in nodes {
            remove(&lab_home.node(node))?;
        }
        return forget(&lab_home, nodes);
    }
    if let Some(supervisor) = Supervisor::running(&lab_home).await {
        // It may end by itself at this moment.
        let _ = supervisor.leave().await;
    }
    remove(lab_home.sockets())?;
    // The record goes last: as long as it is there, a repeated `destroy` finds the lab.
    remove(&lab_home.folder().join("nodes"))?;
    remove(lab_home.folder())?;
    snapshot::sweep(home)
}

/// Takes nodes that the lab file no longer names out of the record: now they are gone.
fn forget(home: &LabHome, nodes: &[NodeName]) -> Result<(), Failure> {
    let Some(mut record) = Record::load(home)? else { return Ok(()) };
    let before = record.left.len();
    record.left.retain(|left| !nodes.contains(&left.name));
    if record.left.len() < before { record.save(home) } else { Ok(()) }
}

fn remove(folder: &std::path::Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(folder.display())(why)),
        _ => Ok(()),
    }
}

/// The lab's state. Asks the supervisor if one runs; otherwise nothing runs that anybody looks after.
pub async fn status(home: &Home, lab: &Lab) -> Result<LabStatus, Failure> {
    let lab_home = home.lab(&lab.name);
    if let Some(supervisor) = Supervisor::running(&lab_home).await {
        return supervisor.status().await;
    }
    let record = Record::load(&lab_home)?;
    let existing = record.as_ref().map(Record::existing_lab);
    let lab = existing.as_ref().unwrap_or(lab);
    let node = |node: &labctl_spec::lab::Node| {
        let folder = lab_home.node(&node.name);
        let running = record.as_ref().is_some_and(|record| changes::runs(&record.files(&lab_home, node)));
        let state = match (running, folder.join("disk.qcow2").exists()) {
            (true, _) => NodeState::Running,
            (false, true) if snapshot::is_suspended(&lab_home) => NodeState::Suspended,
            (false, true) => NodeState::Off,
            (false, false) => NodeState::Absent,
        };
        NodeStatus {
            name: node.name.clone(),
            state,
            address: node.address,
            loopback: record.as_ref().map_or(std::net::Ipv4Addr::UNSPECIFIED, |record| record.loopback(node)),
            hostnames: record::names(node).split_off(1),
            groups: node.groups.clone(),
            published: Vec::new(),
            pid: None,
            memory_mib: node.memory.as_mib(),
            cpus: node.cpus,
            left: record.as_ref().is_some_and(|record| record.lab.node(&node.name).is_none()),
            life: if running {
                life::Life::of_unattended(&folder).map(|life| life.status()).unwrap_or_default()
            } else {
                LifeStatus::default()
            },
        }
    };
    let nodes = lab.nodes.iter().map(node).filter(|node| !node.left || node.state != NodeState::Absent).collect();
    Ok(LabStatus { lab: lab.name.to_string(), supervisor: None, accel: None, nodes, failed_restore: snapshot::failed_restore(&lab_home) })
}
