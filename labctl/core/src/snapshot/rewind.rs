//! Going back to a snapshot.
//!
//! What the nodes did since is given up; that begins when the lab's file `restoring` names the snapshot, and from then on every
//! command that brings nodes up goes on with it until it is done, however often it is cut off.

use std::path::Path;

use labctl_machine::disk::make_overlay;
use labctl_spec::ident::LabName;
use labctl_spec::lab::Lab;

use super::{CLONED, SUSPENDED, Snapshot, diff, discard, find, marker, place, subnet, sweep, take};
use crate::client::Supervisor;
use crate::control::{Call, Rewind};
use crate::event::Event;
use crate::home::{Home, LabHome};
use crate::lifecycle::{self, Birth, Each};
use crate::record::Record;
use crate::{Failure, Kind, supervisor};

/// What becomes of the saved memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The nodes go on where they were.
    GoOn,
    /// Only the disks are put back; the nodes boot.
    Boot,
}

/// Puts the whole lab back to what it was. `lab` is the lab file as it is now.
pub async fn restore(home: &Home, lab: &Lab, name: &str, memory: Memory, each: Each<'_>) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(&lab.name);
    let folder = place(&lab_home, name)?;
    let snapshot = find(&lab_home, name)?;
    let now = snapshot.record.clone().with_lab(lab.clone());
    let changed = diff::machines(&snapshot, &now);
    if !changed.is_empty() {
        let message = format!("the lab file changed since snapshot `{name}` was taken:\n{}", changed.join("\n"));
        return Err(Failure::new(Kind::Conflict, message).hint(format!(
            "nothing was changed; put the lab file back (labctl snapshot diff {name} shows it), or `labctl up` with the new one"
        )));
    }
    go_back(home, &lab.name, &folder, &snapshot, memory, each).await
}

pub(super) async fn go_back(
    home: &Home,
    lab: &LabName,
    folder: &Path,
    snapshot: &Snapshot,
    memory: Memory,
    each: Each<'_>,
) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(lab);
    snapshot.check(folder)?;
    if memory == Memory::GoOn {
        check_memory(home, snapshot).await?;
    }
    // From here on the nodes' present is given up.
    marker::begin(&lab_home, folder, memory == Memory::Boot)?;
    let record = snapshot.record.clone();
    // The name and the addresses on the host are the lab's own: it may be a clone, or another lab may have taken them.
    let record = match Record::load(&lab_home)? {
        Some(own) => record.in_place_of(&own)?,
        None => record,
    };
    record.save(&lab_home)?;
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    supervisor.run(&Call::Halt { nodes: Vec::new(), force: true }, each).await?;
    let supervisor = match memory {
        Memory::GoOn => {
            let rewind = Rewind { record, snapshot: snapshot.clone(), folder: folder.to_owned() };
            let lab = rewind.record.lab.clone();
            supervisor.run(&Call::Rewind(Box::new(rewind)), each).await?;
            if lab.network.subnet != snapshot.record.lab.network.subnet {
                each(Event::Note { text: subnet::consequences(&lab.name, &snapshot.record.lab, lab.network.subnet) });
            }
            supervisor
        }
        Memory::Boot => {
            for (name, node) in &snapshot.nodes {
                supervisor::lay_out(&lab_home.node(name), node).await?;
            }
            marker::remove(&lab_home)?;
            return lifecycle::up(home, record.lab, &[], Birth::Fork, each).await;
        }
    };
    marker::remove(&lab_home)?;
    sweep(home)?;
    Ok(supervisor)
}

/// Refuses a snapshot whose memory this host's QEMU cannot read.
pub(super) async fn check_memory(home: &Home, snapshot: &Snapshot) -> Result<(), Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    if qemu == snapshot.qemu {
        return Ok(());
    }
    let message = format!("snapshot `{}` was saved by `{}`; here is `{qemu}`, which cannot read its memory", snapshot.name, snapshot.qemu);
    Err(Failure::new(Kind::Conflict, message)
        .hint(format!("nothing was changed; `labctl snapshot restore {} --cold` boots the same disks", snapshot.name)))
}

/// Notes that a lab that is not there yet is made from a snapshot of another one. It must come before the lab's record: as long as that
/// is missing, the note counts for nothing, and from then on nobody takes the lab for one that is to be booted.
pub(super) fn begin(home: &LabHome, folder: &Path) -> Result<(), Failure> {
    marker::begin(home, folder, false)
}

/// Whether the lab is being made from a snapshot in the folder `snapshots` of another one, and was cut off.
pub(super) fn is_begun(home: &LabHome, snapshots: &Path) -> bool {
    matches!(marker::read(home), Ok(Some(marker)) if marker.folder.parent() == Some(snapshots))
}

/// Whether the lab is being put back to a snapshot.
pub(crate) fn is_being_restored(home: &LabHome) -> bool {
    matches!(marker::read(home), Ok(Some(_)))
}

/// Goes on with a restore that was cut off, or wakes a lab that was suspended. None if there is nothing of the kind.
pub async fn finish_interrupted(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Option<Supervisor>, Failure> {
    let lab_home = home.lab(lab);
    refuse_failed(&lab_home)?;
    let (folder, memory) = match marker::read(&lab_home)? {
        Some(marker) => (marker.folder, if marker.cold { Memory::Boot } else { Memory::GoOn }),
        None if is_suspended(&lab_home) => return resume(home, lab, each).await.map(Some),
        None => return Ok(None),
    };
    let Some(record) = Record::load(&lab_home)? else {
        // The making of a clone was cut off before there was anything of it.
        marker::remove(&lab_home)?;
        return Ok(None);
    };
    let Some(snapshot) = Snapshot::load(&folder)? else {
        if let Some(origin) = record.clone_of.filter(|_| !folder.starts_with(lab_home.folder())) {
            let message = format!("lab `{lab}` was being cloned when that was cut off, and what it was cloned from is gone");
            return Err(Failure::new(Kind::Conflict, message)
                .hint(format!("repeat it: labctl clone {origin} {lab}; or labctl --lab {lab} destroy")));
        }
        // It was removed meanwhile: the disks are what they are.
        marker::remove(&lab_home)?;
        return Ok(None);
    };
    let supervisor = go_back(home, lab, &folder, &snapshot, memory, each).await?;
    if [SUSPENDED, CLONED].contains(&snapshot.name.as_str()) {
        discard(&folder)?;
    }
    Ok(Some(supervisor))
}

/// Refuses to bring nodes up after a restore that failed: it would fail again, and booting them instead is for the user to say.
pub fn refuse_failed(home: &LabHome) -> Result<(), Failure> {
    match marker::failed(home) {
        Some(why) => Err(Failure { message: format!("nothing was started, for the last restore failed: {}", why.message), ..why }),
        None => Ok(()),
    }
}

/// Saves all nodes and ends their machines.
pub async fn suspend(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Snapshot, Failure> {
    let lab_home = home.lab(lab);
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    let saved = take(&supervisor, SUSPENDED, each).await?;
    supervisor.run(&Call::Halt { nodes: Vec::new(), force: true }, each).await?;
    Ok(saved)
}

/// Wakes a suspended lab.
pub async fn resume(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(lab);
    let folder = place(&lab_home, SUSPENDED)?;
    let snapshot =
        Snapshot::load(&folder)?.ok_or_else(|| Failure::new(Kind::Conflict, format!("lab `{lab}` is not suspended")).hint("labctl up"))?;
    let supervisor = go_back(home, lab, &folder, &snapshot, Memory::GoOn, each).await?;
    discard(&folder)?;
    sweep(home)?;
    Ok(supervisor)
}

/// Whether the lab is suspended.
pub(crate) fn is_suspended(home: &LabHome) -> bool {
    super::folder(home).join(SUSPENDED).join("snapshot.json").exists()
}

/// Forgets that the lab is suspended: its nodes were started or removed otherwise.
pub(crate) fn forget_suspended(home: &LabHome) -> Result<(), Failure> {
    discard(&place(home, SUSPENDED)?)
}

/// An overlay on a node's disk as it was.
pub(crate) async fn overlay(disk: &Path, saved: &super::SavedNode) -> Result<(), Failure> {
    Ok(make_overlay(disk, &saved.layer, "qcow2", saved.disk).await?)
}
