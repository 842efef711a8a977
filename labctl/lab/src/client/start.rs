//! Starts a lab's supervisor, or takes over from one of a different labctl build.
//!
//! A supervisor's socket is named after the code it was built from, so a command finds only a compatible one. Any other is asked to exit
//! (it is crash-only, the machines keep running) or killed, and a new one adopts the machines. So is one that holds the lab's lock and listens
//! nowhere that we know.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use labctl_spec::ident::LabName;
use labctl_wire::frame;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::recall::{self, is_supervisor};
use super::{READY, Supervisor, TAKEN};
use crate::control::Call;
use crate::event::{Each, Event};
use crate::home::LabHome;
use crate::work::Work;
use crate::{Failure, Kind};

/// How long a new supervisor may take to start listening. Adopting a machine takes milliseconds.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Pause before looking again for the lab's existing supervisor. If another command is starting it, it reports only to that command when it
/// listens; if it is shutting down, it reports nothing.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a different build's supervisor may take to exit after it was asked to, and after it was killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

/// See [`Supervisor::ensure`].
pub async fn ensure(home: &LabHome, lab: &LabName, each: Each<'_>) -> Result<Supervisor, Failure> {
    home.make()?;
    replace_foreign(home, lab, each).await?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let started = timeout(START_DEADLINE, start(home, lab)).await;
        if let Some(running) = Supervisor::running(home).await {
            return Ok(running);
        }
        let hint = || format!("see {}", home.supervisor_log().display());
        match started {
            Ok(Err(why)) => return Err(why.hint(hint())),
            // Two commands do this at once: the loser's supervisor exits at the lock, the winner's will listen in a moment.
            Ok(Ok(Started::Taken)) if Instant::now() < deadline => {
                replace_deaf(home, lab, each).await?;
                sleep(AGAIN).await;
            }
            // It listened, and was gone before we connected.
            Ok(Ok(Started::Listening)) if Instant::now() < deadline => sleep(AGAIN).await,
            _ => return Err(Failure::new(Kind::Internal, "the supervisor did not start").hint(hint())),
        }
    }
}

/// Stops supervisors of other builds.
async fn replace_foreign(home: &LabHome, lab: &LabName, each: Each<'_>) -> Result<(), Failure> {
    for socket in home.foreign_supervisor_sockets() {
        // A socket without a listener was left by a supervisor that was killed; the next supervisor removes it.
        let Ok(stream) = UnixStream::connect(&socket).await else { continue };
        refuse_if_at_work(home, lab)?;
        each(replaced(lab, end(stream, lab).await?));
    }
    Ok(())
}

/// Stops a supervisor of another build whose socket is not where ours looks.
async fn replace_deaf(home: &LabHome, lab: &LabName, each: Each<'_>) -> Result<(), Failure> {
    let Some(holder) = recall::deaf(home) else { return Ok(()) };
    refuse_if_at_work(home, lab)?;
    each(replaced(lab, kill(&holder.process, holder.pid, lab).await?));
    Ok(())
}

fn refuse_if_at_work(home: &LabHome, lab: &LabName) -> Result<(), Failure> {
    let Some(pid) = Work::of_another(home)? else { return Ok(()) };
    let who = if pid == 0 { String::new() } else { format!(" (pid {pid})") };
    Err(Failure::new(Kind::Conflict, format!("another version of labctl{who} is at work on lab `{lab}`"))
        .hint("repeat the command when it is done, or use that version"))
}

fn replaced(lab: &LabName, how: &str) -> Event {
    Event::Note {
        text: format!(
            "the supervisor of lab `{lab}` was from another version of labctl: it {how} and is replaced; the machines keep running"
        ),
    }
}

fn failed(lab: &LabName, why: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Conflict, format!("the supervisor of lab `{lab}` is from another version of labctl and {why}"))
}

/// Stops the supervisor at the other end of the connection. Returns how.
async fn end(mut stream: UnixStream, lab: &LabName) -> Result<&'static str, Failure> {
    let pid =
        stream.peer_cred().ok().and_then(|peer| Pid::from_raw(peer.pid()?)).ok_or_else(|| failed(lab, "its process id is unknown"))?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok("had exited"),
        // SAFETY: an OwnedFd keeps its descriptor open until it is dropped, and gives no way to replace it.
        opened => opened.map_err(std::io::Error::from).and_then(|process| Ok(unsafe { AsyncFd::register(process) }?)),
    };
    let process = process.map_err(|why: std::io::Error| failed(lab, format!("cannot be watched: {why}")))?;
    // Every version knows this call by this name. The answer does not matter, only that the process exits.
    let _ = timeout(LEAVE_DEADLINE, stream.write_all(&frame(&Call::Leave))).await;
    if ended(&process).await {
        return Ok("was asked to exit");
    }
    // The connection is still open, so the listening process still has the pid that the kernel reported. It is safe to identify it by that
    // pid.
    let open = matches!(stream.try_read(&mut [0; 1]), Err(why) if why.kind() == std::io::ErrorKind::WouldBlock);
    if !open || !is_supervisor(pid, lab.as_str().as_bytes()) {
        return Err(failed(lab, format!("does not exit (pid {})", pid.as_raw_nonzero())).hint("stop it by hand; its machines keep running"));
    }
    kill(&process, pid, lab).await
}

/// Kills a process that certainly is a supervisor.
async fn kill(process: &AsyncFd<OwnedFd>, pid: Pid, lab: &LabName) -> Result<&'static str, Failure> {
    match pidfd_send_signal(process.get_ref(), Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(why) => return Err(failed(lab, format!("cannot be killed: {why}"))),
    }
    match ended(process).await {
        true => Ok("was killed"),
        false => {
            Err(failed(lab, format!("survives SIGKILL (pid {})", pid.as_raw_nonzero())).hint("its disk or file system may hang; see dmesg"))
        }
    }
}

/// Whether the process exits in time.
async fn ended(process: &AsyncFd<OwnedFd>) -> bool {
    matches!(timeout(LEAVE_DEADLINE, process.readable()).await, Ok(Ok(_)))
}

/// The result of starting a supervisor.
enum Started {
    Listening,
    /// It exited because the lab already has one.
    Taken,
}

/// Starts a supervisor and waits until it listens or exits.
async fn start(home: &LabHome, lab: &LabName) -> Result<Started, Failure> {
    let program = std::env::current_exe().map_err(Failure::io("cannot find labctl's own program"))?;
    let log = home.supervisor_log();
    let errors = fs::OpenOptions::new().create(true).append(true).open(&log).map_err(Failure::io(log.display()))?;
    let mut command = std::process::Command::new(program);
    command.arg("supervisor").arg(lab.as_str()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    // SAFETY: setsid(2) is a plain system call; it is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
    let mut child = Command::from(command).spawn().map_err(Failure::io("cannot start the supervisor"))?;
    let Some(output) = child.stdout.take() else {
        return Err(Failure::new(Kind::Internal, "the supervisor has no output"));
    };
    let line = BufReader::new(output).lines().next_line().await.map_err(Failure::io("cannot wait for the supervisor"))?;
    match line.as_deref() {
        Some(READY) => Ok(Started::Listening),
        Some(TAKEN) => Ok(Started::Taken),
        said => {
            let why = said.map_or_else(|| last_line(&log), str::to_owned);
            Err(Failure::new(Kind::Internal, format!("the supervisor of lab `{lab}` did not start: {why}")))
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or("it printed nothing").to_owned()
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
