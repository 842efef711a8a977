//! A running QEMU.
//!
//! ```text
//!            launch                      quit / guest powers off / crash
//! (no lock) ────────▶ running (lock held) ─────────────────────────────▶ (no lock)
//!                        ▲   │ the supervisor dies: nothing happens
//!                        └───┘ adopt: the next one connects to QMP and compares the UUID
//! ```
//!
//! The machine's lock file is locked (flock(2)) through a descriptor that QEMU inherits, so it is held exactly as long
//! as QEMU lives. Unlike a pid file, it cannot be stale.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::{Files, Machine, argv};
use crate::MachineError;
use crate::qmp::Qmp;

/// How long QEMU may take from its start until its QMP socket works.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How long QEMU may take to exit once it was told to.
const QUIT_DEADLINE: Duration = Duration::from_secs(5);

/// A running QEMU process under our control.
#[derive(Debug)]
pub struct Qemu {
    qmp: Qmp,
    process: AsyncFd<OwnedFd>,
    pid: i32,
}

/// What happens to a machine when its parent process dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Orphan {
    LivesOn,
    Dies,
}

/// How a machine was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It had already exited by itself.
    Gone,
    /// QEMU exited on `quit`.
    Quit,
    /// The process was killed.
    Killed,
}

impl Qemu {
    /// Starts the machine. Its disk must exist. Fails with [`MachineError::InUse`] if the machine is already running.
    pub async fn launch(machine: &Machine) -> Result<Self, MachineError> {
        Self::spawn(machine, &[], Orphan::LivesOn).await
    }

    /// Starts QEMU without a guest; [`Qemu::load`] loads one.
    pub async fn launch_empty(machine: &Machine) -> Result<Self, MachineError> {
        Self::spawn_empty(machine, Orphan::LivesOn).await
    }

    /// Starts a machine that must not outlive the calling process, if the kernel can ensure that (prctl(2),
    /// `PR_SET_PDEATHSIG`).
    pub async fn launch_bound(machine: &Machine) -> Result<Self, MachineError> {
        Self::spawn(machine, &[], Orphan::Dies).await
    }

    /// Starts QEMU without a guest, and it must not outlive the calling process.
    pub async fn launch_empty_bound(machine: &Machine) -> Result<Self, MachineError> {
        Self::spawn_empty(machine, Orphan::Dies).await
    }

    async fn spawn_empty(machine: &Machine, orphan: Orphan) -> Result<Self, MachineError> {
        let qemu = Self::spawn(machine, &["-incoming", "defer"], orphan).await?;
        super::netdev::listens(&qemu, &machine.files.net).await;
        Ok(qemu)
    }

    async fn spawn(machine: &Machine, further: &[&str], orphan: Orphan) -> Result<Self, MachineError> {
        let files = &machine.files;
        let lock = try_lock(&files.lock)?.ok_or_else(|| MachineError::InUse(files.lock.clone()))?;
        for socket in files.sockets() {
            let _ = fs::remove_file(socket);
        }
        let open_log =
            || OpenOptions::new().create(true).append(true).open(&files.log).map_err(MachineError::io(files.log.display().to_string()));
        let (log, errors) = (open_log()?, open_log()?);
        let seen = log.metadata().map_or(0, |about| about.len());
        let mut command = Command::new(argv::program());
        command.args(argv(machine)).args(further).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).kill_on_drop(false);
        let inherited = lock.as_raw_fd();
        // SAFETY: fcntl(2) on an open descriptor and prctl(2) are plain system calls, which are allowed between fork
        // and exec.
        unsafe {
            command.pre_exec(move || {
                #[cfg(target_os = "linux")]
                if orphan == Orphan::Dies {
                    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                }
                let lock = rustix::fd::BorrowedFd::borrow_raw(inherited);
                rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty()).map_err(Into::into)
            });
        }
        let mut child = command.spawn().map_err(MachineError::start(argv::program()))?;
        drop(lock);
        let connected = tokio::select! {
            connected = Self::connect(machine, START_DEADLINE) => connected,
            _ = child.wait() => Err(MachineError::Ended(tail(&files.log, seen))),
        };
        // The runtime reaps the process when it exits; from here on its pidfd is watched, like that of an adopted one.
        tokio::spawn(async move { child.wait().await });
        connected
    }

    /// Takes control of the machine if it is running; `None` if it is not.
    pub async fn adopt(machine: &Machine) -> Result<Option<Self>, MachineError> {
        if !is_running(&machine.files)? {
            return Ok(None);
        }
        match Self::connect(machine, START_DEADLINE).await {
            Ok(qemu) => Ok(Some(qemu)),
            Err(_) if !is_running(&machine.files)? => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Connects to QMP, waiting for the socket, and compares the UUID. QEMU does not announce that its sockets exist,
    /// so it is polled every 2 ms.
    async fn connect(machine: &Machine, limit: Duration) -> Result<Self, MachineError> {
        let socket = &machine.files.qmp;
        let deadline = Instant::now() + limit;
        let (qmp, pid) = loop {
            match timeout(limit, Qmp::connect(socket)).await {
                Ok(Ok(connected)) => break connected,
                Ok(Err(why)) if Instant::now() > deadline => return Err(why),
                Err(_) => return Err(MachineError::Disconnected(format!("{} does not answer", socket.display()))),
                Ok(Err(_)) => sleep(Duration::from_millis(2)).await,
            }
        };
        let found = qmp.execute("query-uuid", Value::Null).await?["UUID"].as_str().unwrap_or_default().to_owned();
        if found != machine.uuid {
            return Err(MachineError::Stranger { socket: socket.clone(), found, wanted: machine.uuid.clone() });
        }
        let pid = pid.ok_or_else(|| MachineError::Disconnected("QEMU's process id is unknown".into()))?;
        let process = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK))
            .map_err(|why| MachineError::Io { what: format!("watch QEMU's process {pid}"), source: why.into() })?;
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        let process = unsafe { AsyncFd::register(process) }.map_err(|why| MachineError::io("watch QEMU's process")(why.into()))?;
        Ok(Self { qmp, process, pid })
    }

    /// The QMP connection.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The process id, for display.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the process has exited.
    pub async fn ended(&self) {
        // A pidfd is readable once its process has exited (pidfd_open(2)); an error here could only mean the same.
        let _ = self.process.readable().await;
    }

    /// Whether the process has exited.
    pub async fn has_ended(&self) -> bool {
        timeout(Duration::ZERO, self.ended()).await.is_ok()
    }

    /// Presses the power button (ACPI).
    pub async fn press_power_button(&self) -> Result<(), MachineError> {
        self.qmp.execute("system_powerdown", Value::Null).await.map(drop)
    }

    /// Stops QEMU immediately: `quit`, then SIGKILL if it does not exit.
    pub async fn end(&self) -> Ending {
        if self.has_ended().await {
            return Ending::Gone;
        }
        let obeyed = timeout(QUIT_DEADLINE, async {
            let _ = self.qmp.execute("quit", Value::Null).await;
            self.ended().await;
        });
        if obeyed.await.is_ok() {
            return Ending::Quit;
        }
        // It may exit at this very moment, which is fine.
        let _ = pidfd_send_signal(self.process.as_fd(), Signal::KILL);
        self.ended().await;
        Ending::Killed
    }
}

/// Whether a QEMU holds the machine's lock.
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

/// The lock file, locked; `None` if another process holds the lock.
fn try_lock(path: &Path) -> Result<Option<File>, MachineError> {
    let what = || path.display().to_string();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(MachineError::io(what()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(MachineError::Io { what: what(), source }),
    }
}

/// What QEMU appended to its log after `from` bytes, at most the last 2 KiB.
fn tail(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(2048))))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    };
    match read() {
        Ok(text) if !text.is_empty() => text,
        _ => format!("see {}", log.display()),
    }
}
