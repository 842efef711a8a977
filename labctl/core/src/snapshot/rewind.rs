//! Restoring a snapshot.
//!
//! Everything that the nodes did since then is discarded. This starts when the lab's file `restoring` names the snapshot; from then on
//! every command that brings nodes up continues the restore until it is done, however often it is interrupted.

use std::path::Path;

use labctl_lab::client::Supervisor;
use labctl_lab::control::{Call, NodeStatus, Rewind};
use labctl_lab::event::{Each, Event, NodeState};
use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::Record;
use labctl_lab::snapshot::{
    CLONED, SUSPENDED, Snapshot, begin_restore, discard, end_restore, failed_restore, find, is_suspended, lay_out, pending_restore, place,
    sweep,
};
use labctl_lab::{Failure, Kind};
use labctl_machine::registry;
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::Lab;

use super::{diff, subnet, take};
use crate::lifecycle::{self, Birth};

/// What happens with the saved memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The nodes resume where they were.
    GoOn,
    /// Only the disks are restored; the nodes boot.
    Boot,
}

/// Restores the whole lab to the snapshot. `lab` is the lab file as it is now.
pub async fn restore(home: &Home, lab: &Lab, name: &str, memory: Memory, each: Each<'_>) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(&lab.name);
    let folder = place(&lab_home, name)?;
    let snapshot = find(&lab_home, name)?;
    let changed = diff::machines(&snapshot.record.lab, lab);
    if !changed.is_empty() {
        let message = format!("the lab file changed since snapshot `{name}` was taken:\n{}", changed.join("\n"));
        return Err(Failure::new(Kind::Conflict, message).hint(format!(
            "nothing was changed; undo the changes to the lab file (`labctl snapshot diff {name}` shows them), \
             or run `labctl up` with the new file"
        )));
    }
    let supervisor = go_back(home, &lab.name, &folder, &snapshot, Some(lab), memory, each).await?;
    for text in diff::applied(&snapshot.record.lab, lab) {
        each(Event::Note { text });
    }
    Ok(supervisor)
}

/// Takes the lab back to the snapshot in that folder. `now` is the lab file as it is now, if its machines are those of the snapshot: its names
/// and published ports then count, not those of the snapshot.
pub(super) async fn go_back(
    home: &Home,
    lab: &LabName,
    folder: &Path,
    snapshot: &Snapshot,
    now: Option<&Lab>,
    memory: Memory,
    each: Each<'_>,
) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(lab);
    snapshot.check(folder)?;
    if memory == Memory::GoOn {
        check_memory(home, snapshot).await?;
    }
    // From here on the nodes' current state is discarded.
    begin_restore(&lab_home, folder, memory == Memory::Boot)?;
    let record = snapshot.record.clone();
    // The name and the addresses on the host stay the lab's own: it may be a clone, or another lab may have taken the snapshot's.
    let record = match Record::load(&lab_home)? {
        Some(own) => record.in_place_of(&own)?,
        None => record,
    };
    let record = match now {
        Some(lab) => record.with_lab(lab.clone()),
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
                lay_out(&lab_home.node(name), node).await?;
            }
            end_restore(&lab_home)?;
            return lifecycle::up(home, record.lab, &[], Birth::Fork, each).await;
        }
    };
    end_restore(&lab_home)?;
    sweep(home)?;
    Ok(supervisor)
}

/// Refuses a snapshot whose memory may be wrong, or that this host's driver cannot read.
pub(super) async fn check_memory(home: &Home, snapshot: &Snapshot) -> Result<(), Failure> {
    // The disks alone are always right.
    let cold = match snapshot.name.as_str() {
        SUSPENDED => "`labctl halt && labctl up` boots the same disks".to_owned(),
        name => format!("`labctl snapshot restore {name} --cold` boots the same disks"),
    };
    if snapshot.may_be_wrong() {
        let message = format!(
            "snapshot `{}` was saved by an older labctl while its emulated nodes were running, and pages of its memory may be missing",
            snapshot.name
        );
        return Err(Failure::new(Kind::Conflict, message).hint(format!("nothing was changed; {cold}")));
    }
    let refused = |why| Failure::from(why).hint(format!("nothing was changed; {cold}"));
    let driver = registry::find(&snapshot.driver()).map_err(refused)?;
    driver.loads_for("a snapshot").map_err(refused)?;
    let (saved_by, here) = (&snapshot.driver_version, driver.version(&home.driver_notes()).await?);
    if *saved_by == here {
        return Ok(());
    }
    let message = format!("snapshot `{}` was saved by `{saved_by}`; this host has `{here}`, which cannot read its memory", snapshot.name);
    Err(Failure::new(Kind::Conflict, message).hint(format!("nothing was changed; {cold}")))
}

/// Records that a lab that does not exist yet is being created from another lab's snapshot. This must precede the lab's record: while that
/// is missing, the note has no effect, and from then on no command takes the lab for one that is to be booted.
pub(super) fn begin(home: &LabHome, folder: &Path) -> Result<(), Failure> {
    begin_restore(home, folder, false)
}

/// Whether creating the lab from another lab's snapshot in the folder `snapshots` was interrupted.
pub(super) fn is_begun(home: &LabHome, snapshots: &Path) -> bool {
    matches!(pending_restore(home), Ok(Some(marker)) if marker.folder.parent() == Some(snapshots))
}

/// Continues an interrupted restore, or resumes a suspended lab. None if there is neither.
pub async fn finish_interrupted(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Option<Supervisor>, Failure> {
    let lab_home = home.lab(lab);
    refuse_failed(&lab_home)?;
    let (folder, memory) = match pending_restore(&lab_home)? {
        Some(marker) => (marker.folder, if marker.cold { Memory::Boot } else { Memory::GoOn }),
        None if is_suspended(&lab_home) => return resume(home, lab, each).await.map(Some),
        None => return Ok(None),
    };
    let Some(record) = Record::load(&lab_home)? else {
        // Creating a clone was interrupted before anything of it existed.
        end_restore(&lab_home)?;
        return Ok(None);
    };
    let Some(snapshot) = Snapshot::load(&folder)? else {
        if let Some(origin) = record.clone_of.filter(|_| !folder.starts_with(lab_home.folder())) {
            let message = format!("creating the clone `{lab}` was interrupted, and the snapshot that it is made from is gone");
            return Err(Failure::new(Kind::Conflict, message)
                .hint(format!("run `labctl clone {origin} {lab}` again, or `labctl --lab {lab} destroy`")));
        }
        // It was removed meanwhile: the disks stay as they are.
        end_restore(&lab_home)?;
        return Ok(None);
    };
    let supervisor = go_back(home, lab, &folder, &snapshot, None, memory, each).await?;
    if [SUSPENDED, CLONED].contains(&snapshot.name.as_str()) {
        discard(&folder)?;
    }
    Ok(Some(supervisor))
}

/// Refuses to bring nodes up after a failed restore: it would fail again, and booting them instead is the user's decision.
pub fn refuse_failed(home: &LabHome) -> Result<(), Failure> {
    match failed_restore(home) {
        Some(why) => Err(Failure { message: format!("nothing was started, because the last restore failed: {}", why.message), ..why }),
        None => Ok(()),
    }
}

/// Saves all nodes and stops their machines.
pub async fn suspend(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Snapshot, Failure> {
    let lab_home = home.lab(lab);
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    let saved = take(&supervisor, SUSPENDED, false, each).await?;
    supervisor.run(&Call::Halt { nodes: Vec::new(), force: true }, each).await?;
    Ok(saved)
}

/// Resumes a suspended lab, or the nodes that stand still because the host's disk was full.
pub async fn resume(home: &Home, lab: &LabName, each: Each<'_>) -> Result<Supervisor, Failure> {
    let lab_home = home.lab(lab);
    let folder = place(&lab_home, SUSPENDED)?;
    let Some(snapshot) = Snapshot::load(&folder)? else { return go_on(&lab_home, lab, each).await };
    let supervisor = go_back(home, lab, &folder, &snapshot, None, Memory::GoOn, each).await?;
    discard(&folder)?;
    sweep(home)?;
    Ok(supervisor)
}

async fn go_on(home: &LabHome, lab: &LabName, each: Each<'_>) -> Result<Supervisor, Failure> {
    let supervisor = Supervisor::ensure(home, lab, each).await?;
    let stands = |node: NodeStatus| matches!(node.state, NodeState::DiskFull { .. }).then_some(node.name);
    let nodes: Vec<NodeName> = supervisor.status().await?.nodes.into_iter().filter_map(stands).collect();
    if nodes.is_empty() {
        return Err(Failure::new(Kind::Conflict, format!("lab `{lab}` is not suspended")).hint("labctl up"));
    }
    supervisor.run(&Call::GoOn { nodes }, each).await?;
    Ok(supervisor)
}
