//! Taking a snapshot of all nodes at one moment.
//!
//! ```text
//! new disks made ─▶ network held, all stopped ─▶ memory written ─▶ disks switched, devices written ─▶ all resume, network released
//! ```
//!
//! Memory is only ever taken from stopped machines: nothing relies on QEMU's dirty tracking.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};
use labctl_image::BootImage;
use labctl_lab::control::Answer;
use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::Home;
use labctl_lab::node_folder::{self, disk};
use labctl_lab::snapshot::{self, SavedNode, Snapshot};
use labctl_lab::{Failure, Kind, persist};
use labctl_machine::disk::make_overlay;
use labctl_machine::driver::{Memory, Running, Saving as Amount};
use labctl_machine::machine::{Machine, Ram};
use labctl_machine::{MachineError, check, registry, stream};
use labctl_spec::ident::NodeName;
use labctl_spec::size::Size;
use tokio::sync::oneshot;

use crate::Supervisor;
use crate::node::Slot;

/// A node that is being saved.
struct Saving {
    name: NodeName,
    slot: Arc<Slot>,
    machine: Machine,
    running: Arc<dyn Running>,
}

impl Saving {
    fn memory(&self) -> Result<&dyn Memory, MachineError> {
        let unable = || MachineError::Unable { driver: self.machine.driver.clone(), what: "a snapshot".to_owned() };
        self.running.memory().ok_or_else(unable)
    }
}

/// Saves all nodes under that name; all must be running. With `verify` it fails if any page was not saved correctly.
pub async fn save(supervisor: Arc<Supervisor>, name: String, verify: bool) -> Result<Answer, Failure> {
    let home = &supervisor.root;
    let place = snapshot::place(&supervisor.home, &name)?;
    let nodes = all_running(&supervisor)?;
    for node in &nodes {
        node.memory()?;
    }
    // No node may be started or halted meanwhile.
    let mut turns = Vec::new();
    for node in &nodes {
        turns.push(node.slot.turn().await);
    }
    let parent = snapshot::folder(&supervisor.home);
    let making = parent.join(format!(".new-{name}"));
    let _ = fs::remove_dir_all(&making);
    let saved = write_all(&supervisor, home, &nodes, &making, verify).await;
    let (pause_ms, saved) = match saved {
        Ok(saved) => saved,
        Err(why) => {
            // First, because the disk may be full: a node that has no room for its writes would stop again.
            let _ = fs::remove_dir_all(&making);
            // Whatever was in progress, the nodes resume.
            let went_on = join_all(nodes.iter().map(|node| node.running.recover())).await;
            for (node, failed) in nodes.iter().zip(went_on).filter_map(|(node, went_on)| Some((node, went_on.err()?))) {
                supervisor.emit(Event::Warning { text: format!("{} did not resume: {failed}", node.name) });
            }
            supervisor.switch.release().await;
            return Err(Failure { message: format!("snapshot `{name}`: {}", why.message), ..why });
        }
    };
    let version = match nodes.first() {
        Some(node) => registry::of(&node.machine)?.version(&home.driver_notes()).await?,
        None => String::new(),
    };
    let snapshot = Snapshot::new(&name, (*supervisor.record()).clone(), version, pause_ms, saved);
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
        let machine = persist::read_json::<Machine>(&node_folder::machine(&supervisor.home.node(&node.name)))?;
        match (slot.state(), slot.machine(), machine) {
            (NodeState::Running, Some(running), Some(machine)) => nodes.push(Saving { name: node.name.clone(), slot, machine, running }),
            (state, ..) => down.push(format!("{} is {}", node.name, state.word())),
        }
    }
    match down.is_empty() {
        true => Ok(nodes),
        false => Err(Failure::new(Kind::Conflict, format!("a snapshot covers all nodes, so all must be running: {}", down.join(", ")))
            .hint("labctl up")),
    }
}

/// Writes memory, devices and disks; returns for how many milliseconds the nodes were stopped.
async fn write_all(
    supervisor: &Arc<Supervisor>,
    home: &Home,
    nodes: &[Saving],
    making: &Path,
    verify: bool,
) -> Result<(u64, BTreeMap<NodeName, SavedNode>), Failure> {
    let states = try_join_all(nodes.iter().map(|node| state_file(making, node))).await?;
    let layers = try_join_all(nodes.iter().map(|node| NextDisk::make(supervisor, home, node))).await?;
    let (mut streams, mut copies) = (Vec::new(), Vec::new());
    for (node, state) in nodes.iter().zip(states) {
        let (stream, copy) = copying(state, &node.machine.ram)?;
        streams.push(stream);
        copies.push(copy);
    }
    let pause_ms = match transfer(supervisor, nodes, &layers, streams, verify.then_some(making)).await {
        Ok(pause_ms) => pause_ms,
        Err(why) => {
            layers.iter().for_each(NextDisk::forget);
            return Err(unwritten(nodes, copies, making).unwrap_or(why));
        }
    };
    supervisor.emit(Event::Note { text: format!("the nodes were paused for {pause_ms} ms") });
    let mut all_written = Vec::new();
    for (node, copy) in nodes.iter().zip(copies) {
        let written = copy.await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?.map_err(Failure::io(&node.name))?;
        all_written.push(written);
    }
    if verify {
        for node in nodes {
            compare(making, node).await?;
        }
    }
    let mut saved = BTreeMap::new();
    for ((node, layer), written) in nodes.iter().zip(layers).zip(all_written) {
        let template = node_folder::template_of(&supervisor.home.node(&node.name));
        if let Some(key) = &template {
            persist::write(&making.join(node.name.as_str()).join("template"), key.as_bytes())?;
        }
        let NextDisk { layer, image, size, .. } = layer;
        let machine = node.machine.clone();
        let node_saved = SavedNode { machine, image, layer, disk: size, template, bytes: written.bytes, omitted: written.omitted };
        saved.insert(node.name.clone(), node_saved);
    }
    Ok((pause_ms, saved))
}

/// Stops all machines, has them write their state, and resumes them; returns for how many milliseconds they were stopped. With `verify`
/// their memory is also written unmodified, below that folder.
async fn transfer(
    supervisor: &Arc<Supervisor>,
    nodes: &[Saving],
    layers: &[NextDisk],
    streams: Vec<OwnedFd>,
    verify: Option<&Path>,
) -> Result<u64, Failure> {
    supervisor.switch.hold().await;
    let stopped = Instant::now();
    try_join_all(nodes.iter().map(|node| node.running.pause())).await?;
    let save = async |(node, (layer, stream)): (&Saving, (&NextDisk, OwnedFd))| -> Result<(), Failure> {
        let memory = node.memory()?;
        let save = memory.save(stream, Amount::Everything).await?;
        // A failed write does no harm: no disk has changed yet.
        layer.begin(node).await?;
        save.finish().await?;
        if let Some(making) = verify {
            memory.dump(&truth(making, node), node.machine.memory.0).await?;
        }
        Ok(())
    };
    try_join_all(nodes.iter().zip(layers.iter().zip(streams)).map(save)).await?;
    try_join_all(nodes.iter().map(|node| node.running.resume())).await?;
    let pause_ms = u64::try_from(stopped.elapsed().as_millis()).unwrap_or(u64::MAX);
    supervisor.switch.release().await;
    Ok(pause_ms)
}

/// Why the machines' streams could not be written, if they could not: QEMU only knows that the reader is gone.
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

/// The file for a node's memory and devices, at its expected size. Writing takes half the time where the host already has pages, and the
/// nodes are stopped meanwhile. A full disk is also noticed here, while they still run.
async fn state_file(making: &Path, node: &Saving) -> Result<File, Failure> {
    static PIECE: [u8; 1 << 18] = [0; 1 << 18];
    let folder = making.join(node.name.as_str());
    fs::create_dir_all(&folder).map_err(Failure::io(folder.display()))?;
    let path = folder.join("state");
    let file = File::create(&path).map_err(Failure::io(path.display()))?;
    let pieces = node.memory()?.written() / PIECE.len() as u64;
    let fill = move || {
        for piece in 0..pieces {
            file.write_all_at(&PIECE, piece * PIECE.len() as u64).map_err(Failure::io(path.display()))?;
        }
        Ok(file)
    };
    tokio::task::spawn_blocking(fill).await.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())))
}

/// Takes a machine's stream from a pipe and leaves out what its template has. It never goes through a file: what is left out need not be
/// written first, and the nodes are stopped meanwhile.
fn copying(file: File, ram: &Ram) -> Result<(OwnedFd, Copied), Failure> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|why| Failure::io("pipe")(why.into()))?;
    // As large as it may be without privileges (pipe(7)): fewer switches between the two processes. Only speed depends on it.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&write, 1 << 20);
    let template = ram.file().cloned();
    let (told, copied) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let read = File::from(read);
        let copied = stream::copy(&read, &file, template.as_deref());
        let copied = copied.and_then(|written| file.set_len(written.bytes).map(|()| written));
        // Sent before the pipe closes, which is all that QEMU will see of a failure. The receiver may be gone.
        let _ = told.send(copied);
    });
    Ok((write, copied))
}

/// Where the unmodified copy of a stopped node's memory is.
fn truth(making: &Path, node: &Saving) -> PathBuf {
    making.join(node.name.as_str()).join("truth")
}

/// Fails if the saved memory differs from what the node had.
async fn compare(making: &Path, node: &Saving) -> Result<(), Failure> {
    let (truth, state) = (truth(making, node), making.join(node.name.as_str()).join("state"));
    let template = node.machine.ram.file().cloned();
    let work = move || {
        let wrong = check::wrong_pages(&state, template.as_deref(), &truth).map_err(Failure::io(state.display()))?;
        fs::remove_file(&truth).map_err(Failure::io(truth.display()))?;
        Ok::<_, Failure>(wrong)
    };
    let wrong = tokio::task::spawn_blocking(work).await.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())))?;
    match wrong.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(
            Kind::Internal,
            format!("{}: {} pages were saved incorrectly; the first is page {first}", node.name, wrong.len()),
        )
        .hint("the snapshot was discarded; please report this with QEMU's version (qemu-system-x86_64 --version)")),
    }
}

/// The disk that a node writes to after the snapshot; what it wrote before becomes a layer.
struct NextDisk {
    folder: PathBuf,
    /// A second name of the node's current disk: it becomes the layer.
    layer: PathBuf,
    image: BootImage,
    size: Size,
    old: PathBuf,
    new: PathBuf,
}

impl NextDisk {
    /// Creates the new disk, while the node still writes to its old one.
    async fn make(supervisor: &Arc<Supervisor>, home: &Home, node: &Saving) -> Result<Self, Failure> {
        let folder = supervisor.home.node(&node.name);
        let image: BootImage = persist::read_json(&folder.join("image.json"))?.ok_or_else(|| {
            Failure::new(Kind::Internal, format!("{}: its image is unknown: {} is missing", node.name, folder.join("image.json").display()))
        })?;
        let record = supervisor.record();
        let size = Size(record.node(&node.name)?.disk.0.max(image.virtual_size));
        let layer = snapshot::new_layer(home)?;
        let (old, new) = (disk::file(&folder)?, disk::another(&folder));
        fs::hard_link(&old, &layer).map_err(Failure::io(layer.display()))?;
        make_overlay(&new, &layer, "qcow2", size).await?;
        Ok(Self { folder, layer, image, size, old, new })
    }

    /// Switches the stopped node to the new disk. At every step the node's link points to a complete disk: the layer is another name of the
    /// old one, and the new one, empty, is based on that name.
    async fn begin(&self, node: &Saving) -> Result<(), Failure> {
        disk::take(&self.folder, &self.new)?;
        node.memory()?.write_to(&self.new).await?;
        // QEMU had reopened the old one by this name; it no longer needs it.
        let _ = fs::remove_file(&self.old);
        Ok(())
    }

    /// Removes the new disk again, unless the node has started to write to it.
    fn forget(&self) {
        if disk::file(&self.folder).is_ok_and(|used| used == self.old) {
            // Leftovers are cleaned up later.
            let _ = (fs::remove_file(&self.new), fs::remove_file(&self.layer));
        }
    }
}

/// Flushes everything to disk, after the nodes have resumed.
fn sync(snapshot: &Snapshot, making: &Path) -> Result<(), Failure> {
    for (name, node) in &snapshot.nodes {
        for path in [&making.join(name.as_str()).join("state"), &node.layer] {
            File::open(path).and_then(|file| file.sync_all()).map_err(Failure::io(path.display()))?;
        }
    }
    Ok(())
}
