//! What a machine needs before it starts: folder, disk, initrd or seed, and its description for the next supervisor.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use labctl_image::BootImage;
use labctl_machine::disk::{enlarge, make_overlay, virtual_size};
use labctl_machine::qemu::{Boot, Machine, Ram};
use labctl_spec::ident::NodeName;
use labctl_spec::image::DiskFormat;
use labctl_spec::lab::Node;
use labctl_spec::size::Size;
use rand::RngCore;

use super::{Supervisor, disk};
use crate::control::Up;
use crate::home::LabHome;
use crate::template::Template;
use crate::{Failure, Kind, initrd, persist};

/// The description of a node's machine in its folder.
pub fn machine(folder: &Path) -> PathBuf {
    folder.join("machine.json")
}

/// Names the template that a node's disk rests on.
fn template(folder: &Path) -> PathBuf {
    folder.join("template")
}

/// Key of the template that a node's disk and memory rest on.
pub fn template_of(folder: &Path) -> Option<String> {
    std::fs::read_to_string(template(folder)).ok().map(|key| key.trim().to_owned())
}

/// Notes it, so that nobody removes that template.
pub fn note_template(folder: &Path, key: &str) -> Result<(), Failure> {
    persist::write(&template(folder), key.as_bytes())
}

/// There from before a fork gets its disk until it runs: what a start that was cut off has left is worth nothing then.
fn unborn(folder: &Path) -> PathBuf {
    folder.join("unborn")
}

/// How a machine comes to life.
#[derive(Debug)]
pub enum Start {
    /// Its kernel boots.
    Boot,
    /// It goes on where a template was saved.
    Fork(Template),
}

/// Makes everything that is missing and describes the machine.
pub async fn prepare(supervisor: &Supervisor, name: &NodeName, up: &Up) -> Result<(Machine, Start), Failure> {
    let record = supervisor.record();
    let node = record.node(name)?;
    let image = up
        .images
        .get(&node.image)
        .ok_or_else(|| Failure::new(Kind::Internal, format!("{name}: the image `{}` was not prepared", node.image)))?;
    let folder = supervisor.home.node(name);
    tokio::fs::create_dir_all(&folder).await.map_err(Failure::io(folder.display()))?;
    let kept = match is_new(&supervisor.home, name) {
        true => None,
        false => persist::read_json::<BootImage>(&folder.join("image.json"))?,
    };
    // A disk boots with the kernel and modules that it was made with, even if its image was made anew since.
    let image = kept.as_ref().unwrap_or(image);
    let start = disk_of(&folder, node, image, up.templates.forks.get(name)).await?;
    let mut identity = record.identity(node)?;
    identity.entropy = entropy();
    identity.clock_ns = now_ns();
    let (boot, seed) = match &image.boot {
        labctl_image::Boot::Direct { kernel, modules } => {
            let archive = folder.join("initrd");
            initrd::write(&archive, modules, &identity)?;
            (Boot::Direct { kernel: kernel.clone(), initrd: archive, append: command_line(up.accel) }, None)
        }
        labctl_image::Boot::Firmware => (Boot::Firmware, Some(crate::seed::write(&folder, &identity)?)),
    };
    let description = Machine {
        label: format!("labctl:{}/{name}", record.lab.name),
        uuid: record.nodes.get(name).map(|kept| kept.uuid.clone()).unwrap_or_default(),
        accel: up.accel,
        cpus: node.cpus,
        memory: node.memory,
        ram: match &start {
            Start::Boot => Ram::Anonymous,
            Start::Fork(template) => Ram::Private(template.ram()),
        },
        mac: node.mac,
        disk: disk::file(&folder)?,
        seed,
        boot,
        files: record.files(&supervisor.home, node),
    };
    // Written before the machine starts: a supervisor that is killed in between leaves a machine that its successor finds.
    persist::write_json(&machine(&folder), &description)?;
    Ok((description, start))
}

/// Gives the node its disk unless it has one. A new one may be a template's: then the node can be forked from that.
async fn disk_of(folder: &Path, node: &Node, image: &BootImage, forked: Option<&Template>) -> Result<Start, Failure> {
    if disk::link(folder).exists() && !unborn(folder).exists() {
        disk::tidy(folder);
        grow(&disk::file(folder)?, node.disk).await?;
        return Ok(Start::Boot);
    }
    // Which image the disk rests on, so that nobody removes it.
    persist::write_json(&folder.join("image.json"), image)?;
    let disk = disk::another(folder);
    let Some(forked) = forked else {
        let size = Size(node.disk.0.max(image.virtual_size));
        make_overlay(&disk, &image.disk, format_name(image), size).await?;
        disk::take(folder, &disk)?;
        let _ = std::fs::remove_file(unborn(folder));
        disk::tidy(folder);
        return Ok(Start::Boot);
    };
    persist::write(&unborn(folder), b"")?;
    note_template(folder, &forked.key)?;
    std::fs::copy(forked.overlay(), &disk).map_err(Failure::io(disk.display()))?;
    disk::take(folder, &disk)?;
    disk::tidy(folder);
    Ok(Start::Fork(forked.clone()))
}

/// Makes a disk larger if the lab file asks for that now. The guest takes the new space when it boots.
async fn grow(disk: &Path, wanted: Size) -> Result<(), Failure> {
    if virtual_size(disk)? < wanted {
        enlarge(disk, wanted).await?;
    }
    Ok(())
}

/// Notes that a fork runs: from now on its disk is its own.
pub fn born(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(unborn(folder)) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(unborn(folder).display())(why)),
        _ => Ok(()),
    }
}

/// Whether a start was cut off before the machine ran.
pub fn is_unborn(folder: &Path) -> bool {
    unborn(folder).exists()
}

/// Whether a node has no disk of its own yet.
pub fn is_new(home: &LabHome, name: &NodeName) -> bool {
    let folder = home.node(name);
    !disk::link(&folder).exists() || is_unborn(&folder)
}

/// QEMU's name of an image's format.
pub fn format_name(image: &BootImage) -> &'static str {
    match image.format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

/// The kernel's command line. Guests are throw-away and have no secrets from each other's processes: mitigations cost a fifth of
/// an emulated boot and protect nothing there. An emulator translates code once for each address that it is seen at, so programs and
/// libraries lie at the same address in every process. Kernels test at boot whether the timer ticks, and panic if it does not: on a busy
/// host an emulated timer is late, so that test is left out, as kernels do by themselves under KVM.
pub fn command_line(accel: labctl_machine::accel::Accel) -> String {
    let console = if cfg!(target_arch = "aarch64") { "ttyAMA0" } else { "ttyS0" };
    let emulated = if accel == labctl_machine::accel::Accel::Tcg { " mitigations=off norandmaps no_timer_check" } else { "" };
    format!("root=/dev/vda rw console={console} net.ifnames=0 quiet loglevel=4 panic=-1 random.trust_cpu=on{emulated}")
}

/// Fresh random bytes for a guest's generator.
pub fn entropy() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// The wall clock in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Whether the guest's last words were those of an orderly end: then it was powered off from inside.
pub fn powered_off(console: &Path) -> bool {
    let text = std::fs::read(console).unwrap_or_default();
    let end = &text[text.len().saturating_sub(4096)..];
    let end = String::from_utf8_lossy(end);
    ["reboot: Power down", "Powering off", "Reached target poweroff.target"].iter().any(|words| end.contains(words))
}
