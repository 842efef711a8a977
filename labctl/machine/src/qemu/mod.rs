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

/// Everything that QEMU is told about a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Shown by ps(1): `labctl:LAB/NODE`.
    pub label: String,
    /// Tells this machine from all others, for as long as its lab exists.
    pub uuid: String,
    /// Accelerator that was proved to work.
    pub accel: Accel,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// What the memory rests on.
    #[serde(default)]
    pub ram: Ram,
    /// Ethernet address of the only NIC.
    pub mac: MacAddr,
    /// The node's own overlay (qcow2).
    pub disk: PathBuf,
    /// A read-only disk with the NoCloud seed.
    pub seed: Option<PathBuf>,
    /// What is booted.
    pub boot: Boot,
    /// The machine's sockets and files.
    pub files: Files,
}

/// What a machine's memory rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ram {
    /// Nothing but the host's memory.
    #[default]
    Anonymous,
    /// This file, which gets every change: a template in the making.
    Shared(PathBuf),
    /// This file, read as far as the machine has not written: a fork of the template.
    Private(PathBuf),
}

impl Ram {
    /// The file, if it rests on one.
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

/// Where a machine's sockets and files are. Sockets have short paths: sun_path holds 108 bytes (unix(7)).
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
    /// What the console printed.
    pub console_log: PathBuf,
    /// QEMU's own messages.
    pub log: PathBuf,
    /// Locked as long as the machine runs.
    pub lock: PathBuf,
}

impl Files {
    /// The files of the machine that is the `position`-th of its lab: sockets in `sockets`, the rest in `folder`.
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

    /// The sockets, all of which QEMU makes.
    pub fn sockets(&self) -> [&Path; 4] {
        [&self.qmp, &self.agent, &self.net, &self.console]
    }
}
