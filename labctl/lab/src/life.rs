//! A machine's history: since when it has been running, its reboots, its kernel panics. Stored with the machine, because the machine may
//! outlive its supervisor. Everything that the process, the guest or the console can still provide is queried; only the rest is stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use labctl_machine::vitals::Process;
use serde::{Deserialize, Serialize};

use crate::control::{LifeStatus, Panic};
use crate::event::{RebootCause, Trouble};
use crate::{Failure, Kind, persist};

/// A problem reported by a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// How bad it is.
    pub trouble: Trouble,
    /// The line, without its timestamp.
    pub line: String,
}

/// A machine's history so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// The process that it belongs to; the stored history of a different process is ignored.
    process: Process,
    /// When the process was started, in milliseconds since 1970.
    started_unix_ms: u64,
    /// How much of the console log had been read when this was stored. Earlier machines of the node have written to the same log.
    pub console_heard: u64,
    /// Its agent has answered, now or before the machine was saved, and the guest has not started to boot since.
    pub awake: bool,
    /// The guest's boot ID, once it is known.
    boot_id: Option<String>,
    /// When that boot started, if the guest has rebooted since the process was started.
    booted_unix_ms: Option<u64>,
    /// When the machine was reset for the boot that has not answered yet.
    #[serde(default)]
    reset_unix_ms: Option<u64>,
    /// Reboots within the process.
    reboots: u32,
    /// Kernel panics.
    panics: u32,
    /// The last one.
    last_panic: Option<Panic>,
    /// The last kernel fault, which the kernel may not have recovered from.
    pub last_oops: Option<String>,
    /// The likely cause of the next reboot.
    omen: Option<RebootCause>,
}

/// A reboot that was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reboot {
    /// Why.
    pub cause: RebootCause,
    /// How long the guest had run before.
    pub ran: Duration,
}

/// The file in a node's folder.
fn file(folder: &Path) -> PathBuf {
    folder.join("life.json")
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Life {
    /// For a machine that was just started. `awake`: it resumes from where it was saved.
    pub fn begin((process, started): (Process, Option<SystemTime>), console_heard: u64, awake: bool) -> Self {
        Self::of(process, started.unwrap_or_else(SystemTime::now), console_heard, awake)
    }

    fn of(process: Process, started: SystemTime, console_heard: u64, awake: bool) -> Self {
        Self {
            process,
            started_unix_ms: unix_ms(started),
            console_heard,
            awake,
            boot_id: None,
            booted_unix_ms: None,
            reset_unix_ms: None,
            reboots: 0,
            panics: 0,
            last_panic: None,
            last_oops: None,
            omen: None,
        }
    }

    /// For a machine that another supervisor has started. If that supervisor stored nothing about it, only its start time is known.
    pub fn adopt(process: (Process, Option<SystemTime>), folder: &Path, console_now: u64) -> Self {
        let kept = persist::read_json::<Self>(&file(folder)).ok().flatten();
        let fresh = Self::begin(process, console_now, false);
        kept.filter(|kept| kept.process == fresh.process).unwrap_or(fresh)
    }

    /// For a machine that is running without a supervisor.
    pub fn of_unattended(folder: &Path) -> Option<Self> {
        let kept = persist::read_json::<Self>(&file(folder)).ok().flatten()?;
        (Process::of(kept.process.pid).0 == kept.process).then_some(kept)
    }

    /// Stores it. Not synced to disk: if the host goes down, so does the machine.
    pub fn keep(&self, folder: &Path) -> Result<(), Failure> {
        let (path, new) = (file(folder), folder.join("life.new"));
        let text = serde_json::to_vec(self).map_err(|why| Failure::new(Kind::Internal, format!("{}: {why}", path.display())))?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(Failure::io(path.display()))
    }

    /// The part shown to users.
    pub fn status(&self) -> LifeStatus {
        LifeStatus {
            since_unix_ms: Some(self.since_unix_ms()),
            started_unix_ms: Some(self.started_unix_ms),
            boot_id: self.boot_id.clone(),
            reboots: self.reboots,
            panics: self.panics,
            last_panic: self.last_panic.clone(),
        }
    }

    /// How long ago its kernel panicked, if it did.
    pub fn since_panic(&self, now: SystemTime) -> Option<Duration> {
        let at = self.last_panic.as_ref()?.at_unix_ms;
        Some(Duration::from_millis(unix_ms(now).saturating_sub(at)))
    }

    /// Since when the guest has run without a reboot, in milliseconds since 1970.
    fn since_unix_ms(&self) -> u64 {
        self.booted_unix_ms.unwrap_or(self.started_unix_ms)
    }

    /// The kernel reports a problem.
    pub fn complains(&mut self, complaint: &Complaint, now: SystemTime) {
        match complaint.trouble {
            Trouble::Panic => {
                self.panics += 1;
                self.last_panic = Some(Panic { at_unix_ms: unix_ms(now), line: complaint.line.clone() });
                self.omen = Some(RebootCause::Panic);
            }
            Trouble::Oops => self.last_oops = Some(complaint.line.clone()),
            Trouble::Stall => {}
        }
    }

    /// The kernel has announced a requested reboot. An earlier panic takes precedence as the cause.
    pub fn restarts_in_order(&mut self) {
        self.omen.get_or_insert(RebootCause::Asked);
    }

    /// The machine was reset and is booting.
    pub fn reset(&mut self, now: SystemTime) {
        self.reset_unix_ms = Some(unix_ms(now));
        self.awake = false;
        self.last_oops = None;
    }

    /// The guest has reported its boot ID and uptime. Returns the reboot if the boot ID has changed.
    pub fn answers(&mut self, boot_id: &str, uptime: Duration, now: SystemTime) -> Option<Reboot> {
        self.awake = true;
        self.boot_id.replace(boot_id.to_owned()).filter(|before| before != boot_id)?;
        // An emulated guest that was starved while it calibrated its clocks reports a longer uptime than is possible.
        let earliest = self.reset_unix_ms.take().unwrap_or_default().max(self.since_unix_ms());
        let booted = unix_ms(now.checked_sub(uptime).unwrap_or(now)).max(earliest);
        let ran = Duration::from_millis(booted.saturating_sub(self.since_unix_ms()));
        self.booted_unix_ms = Some(booted);
        self.reboots += 1;
        Some(Reboot { cause: self.omen.take().unwrap_or(RebootCause::Itself), ran })
    }
}

/// Parses a guest's uptime (proc_uptime(5)).
pub fn uptime(text: &[u8]) -> Option<Duration> {
    let seconds = std::str::from_utf8(text).ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn life() -> Life {
        Life::of(Process { pid: 7, ticks: 70 }, at(1000), 0, false)
    }

    fn panic(line: &str) -> Complaint {
        Complaint { trouble: Trouble::Panic, line: line.to_owned() }
    }

    #[test]
    fn another_boot_id_is_a_reboot_and_the_same_one_is_none() {
        let mut life = life();
        assert_eq!(life.answers("one", Duration::from_secs(5), at(1010)), None);
        assert_eq!(life.answers("one", Duration::from_secs(95), at(1100)), None, "the agent alone was restarted");
        assert_eq!((life.reboots, life.since_unix_ms()), (0, 1_000_000));
        let reboot = life.answers("two", Duration::from_secs(20), at(1220)).unwrap();
        assert_eq!(reboot, Reboot { cause: RebootCause::Itself, ran: Duration::from_secs(200) });
        assert_eq!((life.reboots, life.since_unix_ms()), (1, 1_200_000));
        let reboot = life.answers("three", Duration::from_secs(1), at(1301)).unwrap();
        assert_eq!(reboot.ran, Duration::from_secs(100), "since the reboot before");
        life.reset(at(1400));
        life.answers("four", Duration::from_secs(900), at(1410));
        assert_eq!(life.since_unix_ms(), 1_400_000, "not before it was reset");
    }

    #[test]
    fn a_reboot_has_the_cause_that_was_announced_before() {
        let mut life = life();
        life.answers("one", Duration::ZERO, at(1001));
        life.restarts_in_order();
        life.reset(at(1002));
        assert!(!life.awake);
        assert_eq!(life.answers("two", Duration::ZERO, at(1100)).unwrap().cause, RebootCause::Asked);
        assert!(life.awake);
        life.complains(&panic("Kernel panic - not syncing: x"), at(1150));
        life.restarts_in_order();
        assert_eq!(life.answers("three", Duration::ZERO, at(1200)).unwrap().cause, RebootCause::Panic);
        assert_eq!(life.answers("four", Duration::ZERO, at(1300)).unwrap().cause, RebootCause::Itself, "the panic was before the last one");
        assert_eq!((life.panics, life.reboots), (1, 3));
        assert_eq!(life.last_panic.unwrap().at_unix_ms, 1_150_000);
    }

    #[test]
    fn an_oops_is_no_panic() {
        let mut life = life();
        life.complains(&Complaint { trouble: Trouble::Oops, line: "Oops: 0002 [#1]".into() }, at(1001));
        assert_eq!((life.panics, life.last_panic, life.last_oops.as_deref()), (0, None, Some("Oops: 0002 [#1]")));
    }

    #[test]
    fn what_is_kept_counts_for_the_same_process_only() {
        let folder = tempfile::tempdir().unwrap();
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).0;
        let kept = Life { process: own, reboots: 2, ..life() };
        kept.keep(folder.path()).unwrap();
        assert_eq!(Life::of_unattended(folder.path()), Some(kept.clone()));
        Life { process: Process { ticks: own.ticks + 1, ..own }, ..kept }.keep(folder.path()).unwrap();
        assert_eq!(Life::of_unattended(folder.path()), None, "another process had that id");
    }

    #[test]
    fn uptime_is_read_as_the_kernel_writes_it() {
        assert_eq!(uptime(b"12.50 40.00\n"), Some(Duration::from_millis(12_500)));
        assert_eq!(uptime(b""), None);
    }
}
