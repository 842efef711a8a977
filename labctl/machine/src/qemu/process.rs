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

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::pulse::{Hang, Limits, Sign, sign};
use super::qmp::{self, Qmp};
use super::version::has_sandbox;
use super::vitals::vcpus;
use super::{argv, found};
use crate::MachineError;
use crate::driver::{Ending, Orphan};
use crate::machine::{Machine, is_running, try_lock};
use crate::vitals::Process;

/// How long QEMU may take from its start until its QMP socket works.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// After this time a QEMU has certainly made its sockets, which takes it milliseconds.
const SETTLED: Duration = Duration::from_secs(10);

/// How long QEMU may take to exit once it was told to.
const QUIT_DEADLINE: Duration = Duration::from_secs(5);

/// A running QEMU process under our control.
#[derive(Debug)]
pub struct Qemu {
    qmp: Qmp,
    process: AsyncFd<OwnedFd>,
    pid: i32,
    /// The threads that its guest needs: its virtual CPUs, and the main thread, which serves its devices.
    pub(super) threads: Vec<i32>,
    /// The process and its start time.
    pub(super) started: (Process, Option<SystemTime>),
    machine: Machine,
}

impl Qemu {
    /// Starts the machine. Its disk must exist. Fails with [`MachineError::InUse`] if the machine is already running.
    pub async fn launch(machine: &Machine, orphan: Orphan) -> Result<Self, MachineError> {
        Self::spawn(machine, &[], orphan).await
    }

    /// Starts QEMU without a guest; [`Qemu::load`] loads one.
    pub async fn launch_empty(machine: &Machine, orphan: Orphan) -> Result<Self, MachineError> {
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
        if has_sandbox().await {
            command.args(argv::SANDBOX);
        }
        command.args(argv(machine)).args(further).stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(false);
        let inherited = lock.as_raw_fd();
        // SAFETY: setsid(2), prctl(2) and fcntl(2) on an open descriptor are plain system calls, which are allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // A session, and not only a process group: when the supervisor dies, the kernel sends SIGHUP to the stopped processes of its
                // session, and QEMU would exit.
                rustix::process::setsid()?;
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
        let connected = match lost(machine) {
            Some(lost) => Err(lost),
            None => Self::connect(machine, START_DEADLINE).await,
        };
        match connected {
            Ok(qemu) => Ok(Some(qemu)),
            Err(_) if !is_running(&machine.files)? => Ok(None),
            Err(why @ MachineError::Unreachable { .. }) => Err(why),
            Err(why) => Err(match found::of(&machine.uuid) {
                Some(found) => MachineError::Unreachable { pid: found.pid, why: why.to_string() },
                None => why,
            }),
        }
    }

    /// Ends the machine without QMP.
    pub async fn end_unreachable(machine: &Machine) -> Result<(), MachineError> {
        if let Some(found) = found::of(&machine.uuid) {
            found.end().await?;
        }
        match is_running(&machine.files)? {
            true => Err(MachineError::InUse(machine.files.lock.clone())),
            false => Ok(()),
        }
    }

    /// Connects to QMP, waiting for the socket, and compares the UUID. QEMU does not announce that its sockets exist,
    /// so it is polled every 2 ms.
    async fn connect(machine: &Machine, limit: Duration) -> Result<Self, MachineError> {
        let socket = &machine.files.control;
        let deadline = Instant::now() + limit;
        let mut stopped_since = None;
        let qmp = loop {
            let why = match Qmp::connect(socket).await {
                Ok(connected) => break connected,
                Err(why @ MachineError::Hangs { .. }) => return Err(why),
                Err(why) => why,
            };
            match is_full(&why).then(|| stopped(machine)).flatten() {
                Some(pid) if stopped_since.get_or_insert_with(Instant::now).elapsed() >= Limits::GREETING.stopped => {
                    return Err(qmp::hangs("qmp_capabilities", Some(pid), Hang::Stopped));
                }
                Some(_) => sleep(Duration::from_millis(50)).await,
                None if Instant::now() > deadline => return Err(why),
                None => {
                    stopped_since = None;
                    sleep(Duration::from_millis(2)).await;
                }
            }
        };
        let found = qmp.execute("query-uuid", Value::Null).await?["UUID"].as_str().unwrap_or_default().to_owned();
        if found != machine.uuid {
            return Err(MachineError::Stranger { socket: socket.clone(), found, wanted: machine.uuid.clone() });
        }
        let pid = qmp.pid().ok_or_else(|| MachineError::Disconnected("QEMU's process id is unknown".into()))?;
        let process = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK))
            .map_err(|why| MachineError::Io { what: format!("watch QEMU's process {pid}"), source: why.into() })?;
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        let process = unsafe { AsyncFd::register(process) }.map_err(|why| MachineError::io("watch QEMU's process")(why.into()))?;
        let mut threads = vcpus(&qmp).await?;
        // The main thread's id is the process id.
        threads.push(pid);
        Ok(Self { qmp, process, pid, threads, started: Process::of(pid), machine: machine.clone() })
    }

    /// The QMP connection.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The machine that it runs.
    pub fn machine(&self) -> &Machine {
        &self.machine
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

/// That the machine's control socket is gone, if its process is old enough to have made it. Nothing makes it again: QEMU listens at a path
/// once.
fn lost(machine: &Machine) -> Option<MachineError> {
    let socket = &machine.files.control;
    if socket.exists() {
        return None;
    }
    let found = found::of(&machine.uuid)?;
    let age = Process::of(found.pid).1?.elapsed().ok()?;
    let why = format!("its socket {} was removed", socket.display());
    (age > SETTLED).then_some(MachineError::Unreachable { pid: found.pid, why })
}

/// What QEMU appended to its log after `from` bytes, at most the last 2 KiB.
pub(super) fn tail(log: &Path, from: u64) -> String {
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

/// Whether a socket takes no connection, because it has as many as it can hold that nobody has accepted: those of others that gave up on a QEMU
/// that is stopped.
fn is_full(why: &MachineError) -> bool {
    matches!(why, MachineError::Io { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock)
}

/// The machine's process id if it is stopped.
fn stopped(machine: &Machine) -> Option<i32> {
    found::of(&machine.uuid).map(|found| found.pid).filter(|pid| sign(*pid, &[*pid]) == Sign::Stopped)
}
