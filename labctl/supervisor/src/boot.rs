//! What a machine needs before it starts: folder, disk, initrd or seed, and its description for the next supervisor.

use std::path::Path;

use labctl_image::BootImage;
use labctl_lab::control::Up;
use labctl_lab::guest_kernel::command_line;
use labctl_lab::home::make_closed;
use labctl_lab::identity::{entropy, now_ns};
use labctl_lab::node_folder::{born, disk, is_new, is_unborn, machine, mark_unborn, note_template};
use labctl_lab::template::Template;
use labctl_lab::{Failure, Kind, initrd, persist, seed};
use labctl_machine::disk::{enlarge, make_overlay, virtual_size};
use labctl_machine::machine::{Boot, Machine, Ram};
use labctl_machine::registry;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Node;
use labctl_spec::size::Size;

use crate::Supervisor;

/// How a machine starts.
#[derive(Debug)]
pub enum Start {
    /// Its kernel boots.
    Boot,
    /// It resumes where a template was saved.
    Fork(Template),
}

/// Creates everything that is missing and describes the machine.
pub async fn prepare(supervisor: &Supervisor, name: &NodeName, up: &Up) -> Result<(Machine, Start), Failure> {
    // Read from its notes here, so that it does not find out at each start what it can do on this host.
    registry::find(&up.driver)?.version(&supervisor.root.driver_notes()).await?;
    let record = supervisor.record();
    let node = record.node(name)?;
    let image = up
        .images
        .get(&node.image)
        .ok_or_else(|| Failure::new(Kind::Internal, format!("{name}: the image `{}` was not prepared", node.image)))?;
    let folder = supervisor.home.node(name);
    make_closed(&folder)?;
    let kept = match is_new(&supervisor.home, name) {
        true => None,
        false => persist::read_json::<BootImage>(&folder.join("image.json"))?,
    };
    // A disk boots with the kernel and modules that it was created with, even if its image has been rebuilt since.
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
        labctl_image::Boot::Firmware => (Boot::Firmware, Some(seed::write(&folder, &identity)?)),
    };
    let description = Machine {
        driver: up.driver.clone(),
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
    // Written before the machine starts: if the supervisor is killed in between, its successor still finds the machine.
    persist::write_json(&machine(&folder), &description)?;
    Ok((description, start))
}

/// Gives the node a disk unless it has one. A new disk may come from a template: then the node can be forked from it.
async fn disk_of(folder: &Path, node: &Node, image: &BootImage, forked: Option<&Template>) -> Result<Start, Failure> {
    if disk::link(folder).exists() && !is_unborn(folder) {
        disk::tidy(folder);
        grow(&disk::file(folder)?, node.disk).await?;
        return Ok(Start::Boot);
    }
    // Records which image the disk is based on, so that the image is not removed.
    persist::write_json(&folder.join("image.json"), image)?;
    let disk = disk::another(folder);
    let Some(forked) = forked else {
        let size = Size(node.disk.0.max(image.virtual_size));
        make_overlay(&disk, &image.disk, image.format.qemu_name(), size).await?;
        disk::take(folder, &disk)?;
        born(folder)?;
        disk::tidy(folder);
        return Ok(Start::Boot);
    };
    mark_unborn(folder)?;
    note_template(folder, &forked.key)?;
    std::fs::copy(forked.overlay(), &disk).map_err(Failure::io(disk.display()))?;
    disk::take(folder, &disk)?;
    disk::tidy(folder);
    Ok(Start::Fork(forked.clone()))
}

/// Enlarges a disk if the lab file now asks for that. The guest picks up the new space when it boots.
async fn grow(disk: &Path, wanted: Size) -> Result<(), Failure> {
    if virtual_size(disk)? < wanted {
        enlarge(disk, wanted).await?;
    }
    Ok(())
}

/// Whether the console log ends with an orderly shutdown: then the guest was powered off from inside.
pub fn powered_off(console: &Path) -> bool {
    let text = std::fs::read(console).unwrap_or_default();
    let end = &text[text.len().saturating_sub(4096)..];
    let end = String::from_utf8_lossy(end);
    ["reboot: Power down", "Powering off", "Reached target poweroff.target"].iter().any(|words| end.contains(words))
}
