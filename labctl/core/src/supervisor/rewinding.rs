//! Putting all nodes back to a snapshot.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::try_join_all;
use labctl_machine::qemu::{Boot, Machine};
use labctl_spec::ident::NodeName;

use super::{Supervisor, boot, call, disk, lock};
use crate::control::Rewind;
use crate::event::NodeState;
use crate::snapshot::{self, SavedNode};
use crate::{Failure, initrd, persist};

/// Starts all nodes where the snapshot left them; none may run. They go on together, when the last one is ready.
pub async fn rewind(supervisor: Arc<Supervisor>, rewind: Rewind) -> Result<(), Failure> {
    let _turn = supervisor.rewinding.lock().await;
    let names: Vec<NodeName> = rewind.snapshot.nodes.keys().cloned().collect();
    *lock(&supervisor.record) = Arc::new(rewind.record.clone());
    supervisor.switch.rename(&super::names(&rewind.record)).await;
    call::publish(&supervisor, &names).await?;
    let moved = rewind.record.lab.network.subnet != rewind.snapshot.record.lab.network.subnet;
    let loads = rewind.snapshot.nodes.iter().map(|(name, saved)| load(&supervisor, name, saved, &rewind.folder, moved));
    let machines = match try_join_all(loads).await {
        Ok(machines) => machines,
        Err(why) => {
            for name in &names {
                supervisor.slot(name)?.halt(&supervisor, true).await?;
            }
            return Err(why);
        }
    };
    let mut slots = Vec::new();
    for name in &names {
        slots.push(supervisor.slot(name)?);
    }
    try_join_all(slots.iter().map(|slot| slot.go_on())).await?;
    try_join_all(slots.iter().map(|slot| slot.answered(&supervisor))).await?;
    if moved {
        // Only now that all have their addresses: nobody is to hear of the old ones.
        try_join_all(slots.iter().zip(&machines).map(|(slot, machine)| slot.connect(&supervisor, machine))).await?;
    }
    Ok(())
}

async fn load(supervisor: &Arc<Supervisor>, name: &NodeName, saved: &SavedNode, from: &Path, moved: bool) -> Result<Machine, Failure> {
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
