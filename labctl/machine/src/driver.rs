//! What runs machines: QEMU here, others elsewhere. The rest of labctl knows machines only through [`Driver`] and [`Running`].
//!
//! ```text
//! Machine (a description) ─▶ Driver::launch, Driver::adopt, Loads::load ─▶ Running ─▶ ended
//! ```
//!
//! What not every driver can do is a trait of its own, which a driver returns or does not: [`Loads`] and [`Memory`] for saved memory. A
//! command that needs it and does not get it is refused with [`MachineError::Unable`].
//!
//! Every driver provides the sockets in [`Files`](crate::machine::Files): the agent's channel, the NIC's frames, and the serial console,
//! whose output it also appends to `console_log`. While a machine runs on this host, its lock file is locked.

use std::fmt::Debug;
use std::fs::File;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::MachineError;
use crate::accel::Finding;
use crate::driver_name::DriverName;
use crate::machine::{Machine, is_running};
use crate::vitals::{Process, Share};

/// A future as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Folders in which a driver keeps what it found out about the host.
#[derive(Debug, Clone)]
pub struct Notes {
    /// For results that stay true until something changes.
    pub folder: PathBuf,
    /// For files that are needed for a moment.
    pub scratch: PathBuf,
}

/// What happens to a machine when the process that started it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphan {
    /// It keeps running, to be adopted.
    LivesOn,
    /// It dies too, if the system can ensure that.
    Dies,
}

/// How a machine was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It had already ended by itself.
    Gone,
    /// It ended when its driver asked for it.
    Quit,
    /// It was killed.
    Killed,
}

/// What goes into saved memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    /// Devices and memory.
    Everything,
    /// Everything except memory in a shared file ([`Ram::Shared`](crate::machine::Ram::Shared)).
    WithoutSharedMemory,
}

/// What happens to a running machine by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// Its guest was reset; resets by the driver, as at the start, do not count.
    Reset,
    /// It stands still, because the host's disk has no room for what its guest wrote. Nothing is lost: resumed, it writes again.
    NoRoom,
    /// It goes on after it stood still, for whatever reason.
    Resumed,
}

/// A kind of machines: how they are started and found again.
pub trait Driver: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> DriverName;

    /// Its version in a line: saved memory fits only the version that wrote it.
    fn version<'a>(&'a self, notes: &'a Notes) -> BoxFuture<'a, Result<String, MachineError>>;

    /// The accelerator that works here with that version.
    fn accel<'a>(&'a self, notes: &'a Notes, version: &'a str) -> BoxFuture<'a, Result<Finding, MachineError>>;

    /// Removes its notes: everything is found out again.
    fn forget(&self, notes: &Notes);

    /// Starts the machine. Its disk must exist. Fails with [`MachineError::InUse`] if it already runs.
    fn launch<'a>(&'a self, machine: &'a Machine, orphan: Orphan) -> BoxFuture<'a, Result<Arc<dyn Running>, MachineError>>;

    /// Takes control of the machine if it runs. Fails with [`MachineError::Unreachable`] if it runs and cannot be controlled, as when its
    /// sockets are gone.
    fn adopt<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Option<Arc<dyn Running>>, MachineError>>;

    /// Ends a machine that cannot be controlled. Returns when it has ended.
    fn end_unreachable<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Whether the machine runs.
    fn is_running(&self, machine: &Machine) -> Result<bool, MachineError> {
        is_running(&machine.files)
    }

    /// How it loads saved memory; `None` if it cannot.
    fn loads(&self) -> Option<&dyn Loads> {
        None
    }
}

impl dyn Driver {
    /// How it loads saved memory, or [`MachineError::Unable`], which names `what` needs it.
    pub fn loads_for(&self, what: &str) -> Result<&dyn Loads, MachineError> {
        self.loads().ok_or_else(|| MachineError::Unable { driver: self.name(), what: what.to_owned() })
    }
}

/// A driver that can start a machine where its memory was saved. It can also fork: machines with [`Ram::Private`](crate::machine::Ram).
pub trait Loads: Send + Sync {
    /// Starts the machine from saved state; it stays paused. Fails with [`MachineError::Unreadable`] if that state is of no use, now and
    /// later, and with [`MachineError::CutOff`] if the machine ended while it was loaded. Any other error is from before that: the machine
    /// could not be started.
    fn load<'a>(
        &'a self,
        machine: &'a Machine,
        state: File,
        saving: Saving,
        orphan: Orphan,
    ) -> BoxFuture<'a, Result<Arc<dyn Running>, MachineError>>;

    /// What saved memory depends on besides the machine's description and the driver's version, such as the devices it is started with.
    fn board(&self, machine: &Machine) -> Vec<u8>;
}

/// A running machine.
pub trait Running: Debug + Send + Sync {
    /// The process that runs it, and its start time.
    fn process(&self) -> (Process, Option<SystemTime>);

    /// Waits until it has ended.
    fn ended(&self) -> BoxFuture<'_, ()>;

    /// Whether it has ended.
    fn has_ended(&self) -> BoxFuture<'_, bool>;

    /// Presses the power button (ACPI).
    fn press_power_button(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Stops it immediately.
    fn end(&self) -> BoxFuture<'_, Ending>;

    /// Stops the virtual CPUs.
    fn pause(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Resumes the virtual CPUs.
    fn resume(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// Whether the virtual CPUs are running.
    fn is_active(&self) -> BoxFuture<'_, Result<bool, MachineError>>;

    /// Resumes it whatever was going on, such as a save whose process has died.
    fn recover(&self) -> BoxFuture<'_, Result<(), MachineError>>;

    /// What happens to it from now on. Closed when the machine ends.
    fn incidents(&self) -> UnboundedReceiver<Incident>;

    /// Whether it stands still because the host's disk had no room for what its guest wrote.
    fn lacks_room(&self) -> BoxFuture<'_, Result<bool, MachineError>> {
        Box::pin(async { Ok(false) })
    }

    /// What the threads that the guest needs got of the host's processors; `None` if unknown.
    fn shares(&self) -> Option<Vec<Share>>;

    /// What can be done with its memory; `None` if nothing.
    fn memory(&self) -> Option<&dyn Memory> {
        None
    }
}

/// The memory of a running machine. It is only ever taken while the machine is paused.
pub trait Memory: Send + Sync {
    /// Writes the state of a paused machine to `to`, a file or the write end of a pipe, in the format of QEMU's migration stream, from which
    /// [`stream`](crate::stream) leaves out what a template has. Returns when the memory is written; the disk may
    /// then still be switched to another file before [`Saved::finish`]. The machine stays paused.
    fn save(&self, to: OwnedFd, saving: Saving) -> BoxFuture<'_, Result<Box<dyn Saved + '_>, MachineError>>;

    /// Writes `length` bytes of memory from physical address 0 to the file `to`, which is created. For checks, because it is slow.
    fn dump<'a>(&'a self, to: &'a Path, length: u64) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Redirects the machine's writes to `overlay`, whose backing file is the disk written so far.
    fn write_to<'a>(&'a self, overlay: &'a Path) -> BoxFuture<'a, Result<(), MachineError>>;

    /// About how many bytes of memory the machine has written; 0 if unknown.
    fn written(&self) -> u64;
}

/// A machine whose memory has been written, but not yet its devices.
pub trait Saved: Send {
    /// Writes the devices. The machine stays paused.
    fn finish<'a>(self: Box<Self>) -> BoxFuture<'a, Result<(), MachineError>>
    where
        Self: 'a;
}
