//! Putting all nodes back to a snapshot.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use labctl_machine::qemu::{Boot, Machine};
use labctl_spec::ident::NodeName;

use super::answering::{NoWord, Wish};
use super::node::Slot;
use super::{Supervisor, boot, call, disk, lock};
use crate::control::Rewind;
use crate::event::NodeState;
use crate::snapshot::{self, SavedNode};
use crate::{Failure, Kind, initrd, persist};

/// Why a node is not back.
#[derive(Debug)]
pub enum Lost {
    /// Its memory is worth nothing: what was tried fails whenever it is tried.
    Dead(Failure),
    /// Its machine ended meanwhile, by itself or because somebody ended it.
    Ended(Failure),
    /// Something is in the way, and may be gone when it is tried again.
    Hindered(Failure),
}

impl From<Failure> for Lost {
    fn from(why: Failure) -> Self {
        Self::Hindered(why)
    }
}

/// Starts all nodes where the snapshot left them; none may run. They go on together, when the last one is ready. If one cannot, all are
/// ended: what runs is the whole lab of then, or nothing of it.
pub async fn rewind(supervisor: Arc<Supervisor>, rewind: Rewind) -> Result<(), Failure> {
    let _turn = supervisor.rewinding.lock().await;
    let names: Vec<NodeName> = rewind.snapshot.nodes.keys().cloned().collect();
    let Err(lost) = bring_back(&supervisor, &rewind, &names).await else { return Ok(()) };
    let name = &rewind.snapshot.name;
    let failure = match lost {
        Lost::Hindered(why) => why,
        Lost::Dead(why) => snapshot::restore_failed(&supervisor.home, &rewind.folder, name, why)?,
        Lost::Ended(why) => snapshot::restore_cut_off(&supervisor.home, &rewind.folder, name, why)?,
    };
    for node in &names {
        supervisor.slot(node)?.halt(&supervisor, true).await?;
    }
    Err(failure)
}

async fn bring_back(supervisor: &Arc<Supervisor>, rewind: &Rewind, names: &[NodeName]) -> Result<(), Lost> {
    *lock(&supervisor.record) = Arc::new(rewind.record.clone());
    supervisor.switch.rename(&super::names(&rewind.record)).await;
    call::publish(supervisor, names).await?;
    let moved = rewind.record.lab.network.subnet != rewind.snapshot.record.lab.network.subnet;
    let loads = rewind.snapshot.nodes.iter().map(|(name, saved)| load(supervisor, name, saved, &rewind.folder, moved));
    let machines = all(join_all(loads).await)?;
    let mut slots = Vec::new();
    for name in names {
        slots.push(supervisor.slot(name)?);
    }
    try_join_all(slots.iter().map(|slot| slot.go_on(supervisor))).await?;
    all(join_all(slots.iter().map(|slot| woken(supervisor, slot))).await)?;
    if moved {
        // Only now that all have their addresses: nobody is to hear of the old ones.
        try_join_all(slots.iter().zip(&machines).map(|(slot, machine)| slot.connect(supervisor, machine))).await?;
    }
    Ok(())
}

/// All of them, or why not: what was lost for good comes first, and every node that was lost like that is named.
fn all<T>(outcomes: Vec<Result<T, Lost>>) -> Result<Vec<T>, Lost> {
    let (mut good, mut dead, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(one) => good.push(one),
            Err(Lost::Dead(why)) => dead.push(why.message),
            Err(lost) => other.push(lost),
        }
    }
    match (dead.is_empty(), other.into_iter().next()) {
        (false, _) => Err(Lost::Dead(Failure::new(Kind::Machine, dead.join("\n")))),
        (true, Some(lost)) => Err(lost),
        (true, None) => Ok(good),
    }
}

/// Waits until the guest goes on where it was, and knows the time.
async fn woken(supervisor: &Arc<Supervisor>, slot: &Arc<Slot>) -> Result<(), Lost> {
    let Some(running) = slot.running() else { return Err(Lost::Ended(slot.not_running(supervisor))) };
    match slot.word(&running, Wish::GoOn).await {
        Ok(()) => match slot.settle(supervisor, &running).await {
            Err(why) if running.qemu.has_ended().await => Err(Lost::Ended(why)),
            settled => settled.map_err(Lost::Dead),
        },
        Err(NoWord::Ended) => Err(Lost::Ended(slot.no_word(supervisor, &running, NoWord::Ended))),
        Err(why) => Err(Lost::Dead(slot.no_word(supervisor, &running, why))),
    }
}

async fn load(supervisor: &Arc<Supervisor>, name: &NodeName, saved: &SavedNode, from: &Path, moved: bool) -> Result<Machine, Lost> {
    let slot = supervisor.slot(name)?;
    let _turn = slot.turn().await;
    slot.change(supervisor, NodeState::Starting);
    let folder = supervisor.home.node(name);
    lay_out(&folder, saved).await?;
    let machine = describe(supervisor, name, saved)?;
    persist::write_json(&boot::machine(&folder), &machine)?;
    let state = from.join(name.as_str()).join("state");
    let state = File::open(&state).map_err(Failure::io(state.display()))?;
    slot.load(supervisor, &machine, state, moved).await?;
    Ok(machine)
}

/// Gives the node its disk as it was.
pub async fn lay_out(folder: &Path, saved: &SavedNode) -> Result<(), Failure> {
    tokio::fs::create_dir_all(folder).await.map_err(Failure::io(folder.display()))?;
    persist::write_json(&folder.join("image.json"), &saved.image)?;
    if let Some(key) = &saved.template {
        boot::note_template(folder, key)?;
    }
    boot::born(folder)?;
    let disk = disk::another(folder);
    snapshot::overlay(&disk, saved).await?;
    disk::take(folder, &disk)?;
    disk::tidy(folder);
    Ok(())
}

/// The saved machine with the paths of this lab.
fn describe(supervisor: &Arc<Supervisor>, name: &NodeName, saved: &SavedNode) -> Result<Machine, Failure> {
    let record = supervisor.record();
    let node = record.node(name)?;
    let folder = supervisor.home.node(name);
    let mut identity = record.identity(node)?;
    identity.clock_ns = boot::now_ns();
    identity.entropy = boot::entropy();
    // For the guest's next boot.
    let boot = match (&saved.machine.boot, &saved.image.boot) {
        (Boot::Direct { kernel, append, .. }, labctl_image::Boot::Direct { modules, .. }) => {
            let archive = folder.join("initrd");
            initrd::write(&archive, modules, &identity)?;
            Boot::Direct { kernel: kernel.clone(), initrd: archive, append: append.clone() }
        }
        (other, _) => other.clone(),
    };
    let seed = saved.machine.seed.as_ref().map(|_| crate::seed::write(&folder, &identity)).transpose()?;
    Ok(Machine {
        label: format!("labctl:{}/{name}", record.lab.name),
        uuid: record.nodes.get(name).map(|kept| kept.uuid.clone()).unwrap_or_default(),
        disk: disk::file(&folder)?,
        seed,
        boot,
        files: record.files(&supervisor.home, node),
        ..saved.machine.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Failure {
        Failure::new(Kind::Machine, text)
    }

    #[test]
    fn what_is_lost_for_good_counts_more_than_what_may_be_tried_again() {
        assert_eq!(all(vec![Ok(1), Ok(2)]).unwrap(), [1, 2]);
        let outcomes = vec![Err(Lost::Ended(failure("a"))), Err(Lost::Dead(failure("b"))), Ok(1), Err(Lost::Dead(failure("c")))];
        assert!(matches!(all(outcomes), Err(Lost::Dead(why)) if why.message == "b\nc"));
        assert!(matches!(all(vec![Ok(1), Err(Lost::Ended(failure("a")))]), Err(Lost::Ended(why)) if why.message == "a"));
    }
}
