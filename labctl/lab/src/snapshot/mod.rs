//! Snapshots of a whole lab: memory, devices and disks of all nodes, taken at one moment.
//!
//! ```text
//! labs/LAB/snapshots/NAME/
//!   snapshot.json       its description
//!   NODE/state          memory and devices, without what is in the node's template
//!   NODE/template       key of that template
//! layers/ID.qcow2       disks as saved; nodes and snapshots are based on them, and unused ones are removed
//! ```
//!
//! A snapshot is created in a sibling folder and then renamed: it exists completely or not at all.

mod lay_out;
mod layers;
mod marker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use labctl_image::BootImage;
use labctl_machine::accel::Accel;
use labctl_machine::driver_name::DriverName;
use labctl_machine::machine::Machine;
use labctl_spec::ident::NodeName;
use labctl_spec::size::Size;
use serde::{Deserialize, Serialize};

use crate::home::LabHome;
use crate::record::Record;
use crate::{Failure, Kind, persist};

pub use lay_out::lay_out;
pub use layers::{new as new_layer, sweep};
pub use marker::{Marker, begin_restore, end_restore, failed_restore, give_up_restore, pending_restore, restore_cut_off, restore_failed};

/// Version of the format.
const VERSION: u32 = 1;

/// Name of the snapshot that `clone` takes if none is given.
pub const CLONED: &str = "+cloned";

/// Name of the snapshot that `suspend` takes; no user can choose it.
pub const SUSPENDED: &str = "+suspended";

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub created: SystemTime,
    /// How long the nodes were paused for it, in milliseconds.
    pub pause_ms: u64,
    /// Whether memory was saved only while the nodes were paused. Older versions saved most of it while they ran, and did not set this
    /// field.
    #[serde(default)]
    stopped: bool,
    /// Its driver's version line: saved memory fits only the version that wrote it.
    #[serde(rename = "qemu")]
    pub driver_version: String,
    /// The lab, with the keys and ids of its nodes.
    pub record: Record,
    /// The lab file's text.
    pub lab_file: String,
    /// Its nodes.
    pub nodes: BTreeMap<NodeName, SavedNode>,
}

/// A node in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedNode {
    /// Its machine.
    pub machine: Machine,
    /// The image at the bottom of its disk's chain.
    pub image: BootImage,
    /// Its disk.
    pub layer: PathBuf,
    /// Size of the disk.
    pub disk: Size,
    /// Key of the template that completes its memory.
    pub template: Option<String>,
    /// Bytes of saved memory and devices.
    pub bytes: u64,
    /// Memory pages that were omitted because the template has them.
    pub omitted: u64,
}

impl Snapshot {
    /// A snapshot that was just taken.
    pub fn new(name: &str, record: Record, driver_version: String, pause_ms: u64, nodes: BTreeMap<NodeName, SavedNode>) -> Self {
        let lab_file = fs::read_to_string(&record.lab.file).unwrap_or_default();
        Self {
            version: VERSION,
            name: name.to_owned(),
            created: SystemTime::now(),
            pause_ms,
            stopped: true,
            driver_version,
            record,
            lab_file,
            nodes,
        }
    }

    /// Whether pages of its memory may be missing: it was taken from running emulated machines, and QEMU's dirty tracking loses writes in
    /// that case.
    pub fn may_be_wrong(&self) -> bool {
        !self.stopped && self.nodes.values().any(|node| node.machine.accel == Accel::Tcg)
    }

    /// The driver that saved it; a lab has one.
    pub fn driver(&self) -> DriverName {
        self.nodes.values().next().map(|node| node.machine.driver.clone()).unwrap_or_default()
    }

    /// Bytes of all saved memory.
    pub fn memory(&self) -> u64 {
        self.nodes.values().map(|node| node.bytes).sum()
    }

    /// Total bytes of its disks' own layers.
    pub fn disks(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.nodes.values().filter_map(|node| fs::metadata(&node.layer).ok()).map(|about| about.blocks() * 512).sum()
    }

    /// Reads the snapshot in `folder`; none if there is none.
    pub fn load(folder: &Path) -> Result<Option<Self>, Failure> {
        let file = folder.join("snapshot.json");
        let snapshot: Option<Self> = persist::read_json(&file)?;
        match snapshot {
            Some(snapshot) if snapshot.version != VERSION => {
                let message = format!(
                    "{}: another version of labctl wrote this in format {}; this one reads format {VERSION}",
                    file.display(),
                    snapshot.version
                );
                Err(Failure::new(Kind::Conflict, message).hint("use that version, or remove the snapshot: labctl snapshot rm NAME"))
            }
            other => Ok(other),
        }
    }

    /// Fails if something in it is missing.
    pub fn check(&self, folder: &Path) -> Result<(), Failure> {
        let mut faults = Vec::new();
        for (name, node) in &self.nodes {
            let state = folder.join(name.as_str()).join("state");
            match fs::metadata(&state) {
                Ok(about) if about.len() == node.bytes => {}
                Ok(about) => faults.push(format!("{} has {} bytes instead of {}", state.display(), about.len(), node.bytes)),
                Err(why) => faults.push(format!("{}: {why}", state.display())),
            }
            for file in [Some(&node.layer), node.machine.ram.file()].into_iter().flatten().filter(|file| !file.exists()) {
                faults.push(format!("{}: {} is missing", name, file.display()));
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(Kind::Conflict, format!("snapshot `{}` is damaged:\n{}", self.name, faults.join("\n")))
                .hint(format!("nothing was changed; `labctl snapshot rm {}` removes it", self.name))),
        }
    }
}

/// The folder of a lab's snapshots.
pub fn folder(home: &LabHome) -> PathBuf {
    home.folder().join("snapshots")
}

/// The folder of a snapshot; fails if the name is invalid. Names used by labctl itself start with `+`.
pub fn place(home: &LabHome, name: &str) -> Result<PathBuf, Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = name.starts_with('+') || (!name.is_empty() && name.len() <= 64 && !name.starts_with(['.', '-']) && name.bytes().all(fits));
    match good {
        true => Ok(folder(home).join(name)),
        false => Err(Failure::new(Kind::Input, format!("`{name}` is not a valid snapshot name"))
            .hint("use up to 64 letters, digits, `-`, `_` and `.`, and begin with a letter or digit")),
    }
}

/// The snapshots of a lab, oldest first, and the errors of those that cannot be read.
pub fn list(home: &LabHome) -> (Vec<Snapshot>, Vec<Failure>) {
    let entries = fs::read_dir(folder(home)).into_iter().flatten().flatten();
    let visible = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in visible {
        match Snapshot::load(&entry.path()) {
            Ok(Some(snapshot)) if !snapshot.name.starts_with('+') => good.push(snapshot),
            Ok(_) => {}
            Err(why) => bad.push(why),
        }
    }
    good.sort_by_key(|snapshot| snapshot.created);
    (good, bad)
}

/// The snapshot of that name.
pub fn find(home: &LabHome, name: &str) -> Result<Snapshot, Failure> {
    Snapshot::load(&place(home, name)?)?.ok_or_else(|| {
        let known: Vec<String> = list(home).0.into_iter().map(|snapshot| snapshot.name).collect();
        let known = if known.is_empty() {
            "there are no snapshots yet; to save one: labctl snapshot save NAME".to_owned()
        } else {
            format!("known snapshots: {}", known.join(", "))
        };
        Failure::new(Kind::NotFound, format!("there is no snapshot `{name}`")).hint(known)
    })
}

/// Whether the lab is suspended.
pub fn is_suspended(home: &LabHome) -> bool {
    folder(home).join(SUSPENDED).join("snapshot.json").exists()
}

/// Forgets that the lab is suspended: its nodes were started or removed in another way.
pub fn forget_suspended(home: &LabHome) -> Result<(), Failure> {
    discard(&place(home, SUSPENDED)?)
}

/// Removes a folder. It is renamed first, so that it is never seen half removed.
pub fn discard(folder: &Path) -> Result<(), Failure> {
    let Some(name) = folder.file_name() else { return Ok(()) };
    let doomed = folder.with_file_name(format!(".removed-{}", name.to_string_lossy()));
    let _ = fs::remove_dir_all(&doomed);
    match fs::rename(folder, &doomed) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(Failure::io(folder.display()))?,
    }
    fs::remove_dir_all(&doomed).map_err(Failure::io(doomed.display()))
}

/// Whether the lab is being restored to a snapshot.
pub fn is_being_restored(home: &LabHome) -> bool {
    matches!(pending_restore(home), Ok(Some(_)))
}
