//! The QEMU driver.

mod argv;
mod netdev;
mod process;
mod state;
mod version;
mod vitals;

use std::path::{Path, PathBuf};

use labctl_spec::ident::MacAddr;
use labctl_spec::size::Size;
use serde::{Deserialize, Serialize};

use crate::accel::Accel;

pub use argv::{argv, program};
pub use process::{Ending, Qemu, is_running};
pub use state::{Save, Saving};
pub use version::version;
pub use vitals::{Process, Share};

/// Everything that QEMU needs to know about a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Shown by ps(1): `labctl:LAB/NODE`.
    pub label: String,
    /// Identifies this machine for as long as its lab exists.
    pub uuid: String,
    /// Accelerator that was shown to work.
    pub accel: Accel,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// What backs the memory.
    #[serde(default)]
    pub ram: Ram,
    /// Ethernet address of the only NIC.
    pub mac: MacAddr,
    /// The node's own overlay (qcow2).
    pub disk: PathBuf,
    /// A read-only disk with the NoCloud seed.
    pub seed: Option<PathBuf>,
    /// What the machine boots.
    pub boot: Boot,
    /// The machine's sockets and files.
    pub files: Files,
}

/// What backs a machine's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ram {
    /// Anonymous memory of the host.
    #[default]
    Anonymous,
    /// This file, which receives every change: a template being made.
    Shared(PathBuf),
    /// This file, for pages that the machine has not written yet: a fork of the template.
    Private(PathBuf),
}

impl Ram {
    /// The backing file, if there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Anonymous => None,
            Self::Shared(file) | Self::Private(file) => Some(file),
        }
    }
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Boot {
    /// A kernel, loaded by QEMU.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// The initrd.
        initrd: PathBuf,
        /// The kernel's command line.
        append: String,
    },
    /// The boot loader on the disk.
    Firmware,
}

/// Paths of a machine's sockets and files. Socket paths are short, because sun_path holds 108 bytes (unix(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// QMP.
    pub qmp: PathBuf,
    /// The agent's virtio-serial port.
    pub agent: PathBuf,
    /// The NIC's frames.
    pub net: PathBuf,
    /// The serial console.
    pub console: PathBuf,
    /// Output of the console.
    pub console_log: PathBuf,
    /// QEMU's own messages.
    pub log: PathBuf,
    /// Locked for as long as the machine runs.
    pub lock: PathBuf,
}

impl Files {
    /// The files of machine number `position` in its lab: sockets in `sockets`, the rest in `folder`.
    pub fn new(sockets: &Path, position: u32, folder: &Path) -> Self {
        let socket = |kind: &str| sockets.join(format!("{position}.{kind}"));
        Self {
            qmp: socket("qmp"),
            agent: socket("agent"),
            net: socket("net"),
            console: socket("console"),
            console_log: folder.join("console.log"),
            log: folder.join("qemu.log"),
            lock: folder.join("running.lock"),
        }
    }

    /// The sockets, all of which QEMU creates.
    pub fn sockets(&self) -> [&Path; 4] {
        [&self.qmp, &self.agent, &self.net, &self.console]
    }
}
