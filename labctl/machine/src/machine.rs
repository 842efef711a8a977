//! A machine as its driver sees it: a description that is stored beside its disk, and that any driver can start it from.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use labctl_spec::ident::MacAddr;
use labctl_spec::size::Size;
use serde::{Deserialize, Serialize};

use crate::MachineError;
use crate::accel::Accel;
use crate::driver_name::DriverName;

/// Everything that a driver needs to know about a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The driver that runs it.
    #[serde(default)]
    pub driver: DriverName,
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
    /// A kernel, loaded without a boot loader.
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

/// Paths of a machine's sockets and files, which its driver creates. Socket paths are short, because sun_path holds 108 bytes (unix(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// For the driver's own use; QEMU's is QMP.
    #[serde(rename = "qmp")]
    pub control: PathBuf,
    /// The channel to the agent.
    pub agent: PathBuf,
    /// The NIC's frames, each after its length: 4 bytes, big-endian.
    pub net: PathBuf,
    /// The serial console.
    pub console: PathBuf,
    /// Output of the console.
    pub console_log: PathBuf,
    /// The driver's messages about this machine.
    pub log: PathBuf,
    /// Locked for as long as the machine runs.
    pub lock: PathBuf,
}

impl Files {
    /// The files of machine number `position` in its lab: sockets in `sockets`, the rest in `folder`.
    pub fn new(sockets: &Path, position: u32, folder: &Path) -> Self {
        let socket = |kind: &str| sockets.join(format!("{position}.{kind}"));
        Self {
            control: socket("qmp"),
            agent: socket("agent"),
            net: socket("net"),
            console: socket("console"),
            console_log: folder.join("console.log"),
            log: folder.join("qemu.log"),
            lock: folder.join("running.lock"),
        }
    }

    /// The sockets.
    pub fn sockets(&self) -> [&Path; 4] {
        [&self.control, &self.agent, &self.net, &self.console]
    }
}

/// Whether a process of the driver holds the machine's lock.
pub fn is_running(files: &Files) -> Result<bool, MachineError> {
    if !files.lock.exists() {
        return Ok(false);
    }
    let Some(free) = try_lock(&files.lock)? else {
        return Ok(true);
    };
    // Closing is not enough: a process that another thread is starting holds a copy of the open file until it execs.
    free.unlock().map_err(MachineError::io(files.lock.display().to_string()))?;
    Ok(false)
}

/// The machine's lock file, locked; `None` if another process holds the lock.
pub fn try_lock(path: &Path) -> Result<Option<File>, MachineError> {
    let what = || path.display().to_string();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(MachineError::io(what()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(MachineError::Io { what: what(), source }),
    }
}
