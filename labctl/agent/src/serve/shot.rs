//! Kills: processes are first held by pidfd, then signalled with as little delay in between as possible.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labctl_wire::{AgentError, ArmedProcess, Death, ErrorKind, Reply};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{failed, units};

/// How long a process may take to die of a SIGKILL (it may hang in the kernel).
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// Held processes, by shot.
#[derive(Default)]
pub struct Shots(HashMap<u64, Vec<Held>>);

/// A process that cannot be confused with another, whatever happens to its pid.
pub struct Held {
    unit: String,
    pid: i32,
    process: Result<OwnedFd, String>,
}

impl Shots {
    /// Holds the main processes of the units.
    pub fn arm(&mut self, shot: u64, units: &[String]) -> Result<Reply, AgentError> {
        let held: Vec<Held> = units::states(units)?
            .into_iter()
            .map(|state| Held { process: hold(state.main_pid), unit: state.unit, pid: state.main_pid })
            .collect();
        let armed = held.iter().map(|held| ArmedProcess { unit: held.unit.clone(), pid: if held.process.is_ok() { held.pid } else { 0 } });
        let armed = armed.collect();
        self.0.insert(shot, held);
        Ok(Reply::Armed(armed))
    }

    /// Removes and returns the shot's processes.
    pub fn take(&mut self, shot: u64) -> Option<Vec<Held>> {
        self.0.remove(&shot)
    }

    /// Releases all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn hold(pid: i32) -> Result<OwnedFd, String> {
    let pid = Pid::from_raw(pid).ok_or("the unit has no main process")?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|why| why.to_string())
}

/// Sends the signal to all, then, if it is SIGKILL, waits for them to die.
pub fn fire(held: Option<Vec<Held>>, signal: i32) -> Result<Reply, AgentError> {
    let invalid = |message: String| AgentError { kind: ErrorKind::Invalid, message };
    let held = held.ok_or_else(|| invalid("nothing is armed for this shot".into()))?;
    let signal = Signal::from_named_raw(signal).ok_or_else(|| invalid(format!("{signal} is not a signal")))?;
    let mut deaths = Vec::with_capacity(held.len());
    for one in &held {
        let sent_ns = now();
        let sent = match &one.process {
            Ok(process) => pidfd_send_signal(process, signal).map_err(|why| why.to_string()),
            Err(why) => Err(why.clone()),
        };
        deaths.push(Death { unit: one.unit.clone(), pid: one.pid, sent_ns, dead_ns: None, error: sent.err() });
    }
    if signal == Signal::KILL {
        await_deaths(&held, &mut deaths)?;
    }
    Ok(Reply::Fired(deaths))
}

fn await_deaths(held: &[Held], deaths: &mut [Death]) -> Result<(), AgentError> {
    let deadline = Instant::now() + DEATH_DEADLINE;
    loop {
        let waiting: Vec<(usize, &OwnedFd)> = held
            .iter()
            .enumerate()
            .filter(|(index, _)| deaths[*index].dead_ns.is_none() && deaths[*index].error.is_none())
            .filter_map(|(index, one)| Some((index, one.process.as_ref().ok()?)))
            .collect();
        let left = deadline.saturating_duration_since(Instant::now());
        if waiting.is_empty() || left.is_zero() {
            return Ok(());
        }
        let mut watched: Vec<PollFd<'_>> = waiting.iter().map(|(_, process)| PollFd::new(*process, PollFlags::IN)).collect();
        let left = rustix::time::Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut watched, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(failed("wait for the processes to die")(why.into())),
        }
        let dead_ns = now();
        for ((index, _), watched) in waiting.iter().zip(&watched) {
            if !watched.revents().is_empty() {
                deaths[*index].dead_ns = Some(dead_ns);
            }
        }
    }
}

/// Nanoseconds of the wall clock since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_held_process_dies_and_is_seen_to_die() {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id().cast_signed();
        let held =
            vec![Held { unit: "a.service".into(), pid, process: hold(pid) }, Held { unit: "b.service".into(), pid: 0, process: hold(0) }];
        let Reply::Fired(deaths) = fire(Some(held), 9).unwrap() else { panic!("another reply") };
        assert!(deaths[0].dead_ns.unwrap() >= deaths[0].sent_ns);
        assert_eq!(deaths[1].error.as_deref(), Some("the unit has no main process"));
        assert!(deaths[1].dead_ns.is_none());
        child.wait().unwrap();
    }

    #[test]
    fn an_unknown_shot_is_refused() {
        assert_eq!(fire(None, 9).unwrap_err().kind, ErrorKind::Invalid);
    }
}
