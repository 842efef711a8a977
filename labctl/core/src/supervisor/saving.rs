//! Taking a snapshot of all nodes at one moment.
//!
//! ```text
//! memory is written while the nodes run ─▶ network held, all paused ─▶ rest of the memory, devices; disks begin new layers
//!                                                                   ─▶ all go on, network released
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};
use labctl_image::BootImage;
use labctl_machine::disk::make_overlay;
use labctl_machine::qemu::{LiveSave, Machine, Qemu, Ram};
use labctl_machine::stream;
use labctl_spec::ident::NodeName;
use labctl_spec::size::Size;
use tokio::sync::oneshot;

use super::node::Slot;
use super::{Supervisor, boot, disk};
use crate::control::Answer;
use crate::event::{Event, NodeState};
use crate::home::Home;
use crate::snapshot::{self, SavedNode, Snapshot};
use crate::{Failure, Kind, persist};

/// A node that is being saved.
struct Saving {
    name: NodeName,
    slot: Arc<Slot>,
    machine: Machine,
    qemu: Arc<Qemu>,
}

/// Saves all nodes under that name; all must run.
pub async fn save(supervisor: Arc<Supervisor>, name: String) -> Result<Answer, Failure> {
    let home = Home::open()?;
    let place = snapshot::place(&supervisor.home, &name)?;
    let nodes = all_running(&supervisor)?;
    // Nobody starts or halts a node meanwhile.
    let mut turns = Vec::new();
    for node in &nodes {
        turns.push(node.slot.turn().await);
    }
    let parent = snapshot::folder(&supervisor.home);
    let making = parent.join(format!(".new-{name}"));
    let _ = fs::remove_dir_all(&making);
    let saved = write_all(&supervisor, &home, &nodes, &making).await;
    let (pause_ms, saved) = match saved {
        Ok(saved) => saved,
        Err(why) => {
            // Whatever was under way, the nodes go on.
            join_all(nodes.iter().map(|node| node.qemu.save_nothing())).await;
            supervisor.switch.release().await;
            let _ = fs::remove_dir_all(&making);
            return Err(Failure { message: format!("snapshot `{name}`: {}", why.message), ..why });
        }
    };
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let snapshot = Snapshot::new(&name, (*supervisor.record()).clone(), qemu, pause_ms, saved);
    sync(&snapshot, &making)?;
    persist::write_json(&making.join("snapshot.json"), &snapshot)?;
    snapshot::discard(&place)?;
    fs::rename(&making, &place).map_err(Failure::io(place.display()))?;
    File::open(&parent).and_then(|folder| folder.sync_all()).map_err(Failure::io(parent.display()))?;
    Ok(Answer::Saved(Box::new(snapshot)))
}

fn all_running(supervisor: &Arc<Supervisor>) -> Result<Vec<Saving>, Failure> {
    let record = supervisor.record();
    let mut nodes = Vec::new();
    let mut down = Vec::new();
    for node in &record.lab.nodes {
        let slot = supervisor.slot(&node.name)?;
        let machine = persist::read_json::<Machine>(&boot::machine(&supervisor.home.node(&node.name)))?;
        match (slot.state(), slot.qemu(), machine) {
            (NodeState::Running, Some(qemu), Some(machine)) => nodes.push(Saving { name: node.name.clone(), slot, machine, qemu }),
            (state, ..) => down.push(format!("{} is {}", node.name, state.word())),
        }
    }
    match down.is_empty() {
        true => Ok(nodes),
        false => {
            Err(Failure::new(Kind::Conflict, format!("a snapshot holds all nodes, and all must run: {}", down.join(", ")))
                .hint("labctl up"))
        }
    }
}

/// Writes memory, devices and disks; gives the milliseconds that the nodes stood still.
async fn write_all(
    supervisor: &Arc<Supervisor>,
    home: &Home,
    nodes: &[Saving],
    making: &Path,
) -> Result<(u64, BTreeMap<NodeName, SavedNode>), Failure> {
    let mut saves = Vec::new();
    let mut copies = Vec::new();
    for node in nodes {
        let folder = making.join(node.name.as_str());
        fs::create_dir_all(&folder).map_err(Failure::io(folder.display()))?;
        let (write, copy) = copying(&folder.join("state"), &node.machine.ram)?;
        copies.push(copy);
        saves.push(node.qemu.save_live(write).await?);
    }
    let (pause_ms, layers) = match transfer(supervisor, home, nodes, saves).await {
        Ok(done) => done,
        Err(why) => return Err(unwritten(nodes, copies, making).unwrap_or(why)),
    };
    let mut saved = BTreeMap::new();
    for ((node, copy), (layer, image, disk)) in nodes.iter().zip(copies).zip(layers) {
        let written = copy.await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?.map_err(Failure::io(&node.name))?;
        let folder = supervisor.home.node(&node.name);
        let template = boot::template_of(&folder);
        if let Some(key) = &template {
            persist::write(&making.join(node.name.as_str()).join("template"), key.as_bytes())?;
        }
        let machine = node.machine.clone();
        let node_saved = SavedNode { machine, image, layer, disk, template, bytes: written.bytes, omitted: written.omitted };
        saved.insert(node.name.clone(), node_saved);
    }
    supervisor.emit(Event::Note { text: format!("the nodes stood still for {pause_ms} ms") });
    Ok((pause_ms, saved))
}

/// Has all machines write what they are at one moment; gives the milliseconds that they stood still, and their disks' layers.
async fn transfer(
    supervisor: &Arc<Supervisor>,
    home: &Home,
    nodes: &[Saving],
    mut saves: Vec<LiveSave<'_>>,
) -> Result<(u64, Vec<(PathBuf, BootImage, Size)>), Failure> {
    try_join_all(saves.iter_mut().map(|save| save.first_pass())).await?;
    supervisor.switch.hold().await;
    let paused = Instant::now();
    try_join_all(nodes.iter().map(|node| node.qemu.pause())).await?;
    try_join_all(saves.iter_mut().map(|save| save.memory_written())).await?;
    let layers = try_join_all(nodes.iter().map(|node| begin_layer(supervisor, home, node))).await?;
    try_join_all(saves.into_iter().map(|save| save.finish())).await?;
    try_join_all(nodes.iter().map(|node| node.qemu.resume())).await?;
    let pause_ms = u64::try_from(paused.elapsed().as_millis()).unwrap_or(u64::MAX);
    supervisor.switch.release().await;
    Ok((pause_ms, layers))
}

/// Why what the machines said could not be written, if it could not: all that QEMU knows then is that nobody listens any more.
fn unwritten(nodes: &[Saving], copies: Vec<Copied>, making: &Path) -> Option<Failure> {
    for (node, mut copy) in nodes.iter().zip(copies) {
        if let Ok(Err(why)) = copy.try_recv() {
            let file = making.join(node.name.as_str()).join("state");
            return Some(Failure::io(file.display())(why));
        }
    }
    None
}

type Copied = oneshot::Receiver<std::io::Result<stream::Written>>;

/// Takes a machine's stream from a pipe and leaves out of it what its template has.
fn copying(to: &Path, ram: &Ram) -> Result<(OwnedFd, Copied), Failure> {
    let file = File::create(to).map_err(Failure::io(to.display()))?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|why| Failure::io("pipe")(why.into()))?;
    // As large as it may be without privileges (pipe(7)): fewer turns of two processes. Only speed depends on it.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&write, 1 << 20);
    let template = ram.file().cloned();
    let (told, copied) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let read = File::from(read);
        // Told before the pipe closes, which is all that QEMU will say of a failure. Nobody may be left to hear it.
        let _ = told.send(stream::copy(&read, file, template.as_deref()));
    });
    Ok((write, copied))
}

/// The node writes to a new disk from now on; what it wrote so far becomes a layer. At every step the node's link leads to a disk
/// that is complete: the layer is another name of the old one, and the new one, empty, rests on that name.
async fn begin_layer(supervisor: &Arc<Supervisor>, home: &Home, node: &Saving) -> Result<(PathBuf, BootImage, Size), Failure> {
    let folder = supervisor.home.node(&node.name);
    let image: BootImage = persist::read_json(&folder.join("image.json"))?
        .ok_or_else(|| Failure::new(Kind::Internal, format!("{}: nobody knows its image", node.name)))?;
    let record = supervisor.record();
    let size = Size(record.node(&node.name)?.disk.0.max(image.virtual_size));
    let layer = snapshot::new_layer(home)?;
    let (old, new) = (disk::file(&folder)?, disk::another(&folder));
    fs::hard_link(&old, &layer).map_err(Failure::io(layer.display()))?;
    make_overlay(&new, &layer, "qcow2", size).await?;
    disk::take(&folder, &new)?;
    node.qemu.write_to(&new).await?;
    // QEMU has opened the old one again, by this name; it needs it no more.
    let _ = fs::remove_file(&old);
    Ok((layer, image, size))
}

/// Has everything on the disk, after the nodes went on.
fn sync(snapshot: &Snapshot, making: &Path) -> Result<(), Failure> {
    for (name, node) in &snapshot.nodes {
        for path in [&making.join(name.as_str()).join("state"), &node.layer] {
            File::open(path).and_then(|file| file.sync_all()).map_err(Failure::io(path.display()))?;
        }
    }
    Ok(())
}
