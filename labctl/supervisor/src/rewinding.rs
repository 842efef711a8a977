//! Rewinding all nodes to a snapshot.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use labctl_lab::control::Rewind;
use labctl_lab::event::NodeState;
use labctl_lab::identity::{entropy, now_ns};
use labctl_lab::node_folder::{self, disk};
use labctl_lab::snapshot::{self, SavedNode, lay_out};
use labctl_lab::{Failure, Kind, initrd, persist};
use labctl_machine::machine::{Boot, Machine};
use labctl_machine::registry;
use labctl_spec::ident::NodeName;

use crate::answering::{NoWord, Wish};
use crate::lost::Lost;
use crate::node::Slot;
use crate::{Supervisor, lock, ports};

/// Starts all nodes where the snapshot left them; none may be running. They resume together, once the last one is ready. If one cannot, all
/// are stopped: either the whole lab of that moment runs, or nothing of it.
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
    ports::publish_all(supervisor, names).await?;
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
        // Only now that all have their new addresses: none may see the old ones.
        try_join_all(slots.iter().zip(&machines).map(|(slot, machine)| slot.connect(supervisor, machine))).await?;
    }
    Ok(())
}

/// All of them, or why not: permanent losses come first, and every node lost that way is named.
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

/// Waits until the guest has resumed and knows the time.
async fn woken(supervisor: &Arc<Supervisor>, slot: &Arc<Slot>) -> Result<(), Lost> {
    let Some(running) = slot.running() else { return Err(Lost::Ended(slot.not_running(supervisor))) };
    match slot.word(&running, Wish::GoOn).await {
        Ok(()) => match slot.settle(supervisor, &running).await {
            Err(why) if running.machine.has_ended().await => Err(Lost::Ended(why)),
            settled => settled.map_err(Lost::Dead),
        },
        Err(NoWord::Ended) => Err(Lost::Ended(slot.no_word(supervisor, &running, NoWord::Ended))),
        Err(NoWord::Stopped(why)) => Err(Lost::Hindered(slot.full(&why))),
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
    // As before a start: from its notes.
    let driver = registry::of(&machine).map_err(Failure::from)?;
    driver.version(&supervisor.root.driver_notes()).await.map_err(Failure::from)?;
    persist::write_json(&node_folder::machine(&folder), &machine)?;
    let state = from.join(name.as_str()).join("state");
    let state = File::open(&state).map_err(Failure::io(state.display()))?;
    slot.load(supervisor, &machine, state, moved).await?;
    Ok(machine)
}

/// The saved machine with the paths of this lab.
fn describe(supervisor: &Arc<Supervisor>, name: &NodeName, saved: &SavedNode) -> Result<Machine, Failure> {
    let record = supervisor.record();
    let node = record.node(name)?;
    let folder = supervisor.home.node(name);
    let mut identity = record.identity(node)?;
    identity.clock_ns = now_ns();
    identity.entropy = entropy();
    // For the guest's next boot.
    let boot = match (&saved.machine.boot, &saved.image.boot) {
        (Boot::Direct { kernel, append, .. }, labctl_image::Boot::Direct { modules, .. }) => {
            let archive = folder.join("initrd");
            initrd::write(&archive, modules, &identity)?;
            Boot::Direct { kernel: kernel.clone(), initrd: archive, append: append.clone() }
        }
        (other, _) => other.clone(),
    };
    let seed = saved.machine.seed.as_ref().map(|_| labctl_lab::seed::write(&folder, &identity)).transpose()?;
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
