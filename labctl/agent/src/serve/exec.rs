//! Programs: each starts in its own process group and its output is streamed; nothing is waited for after the program exits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use labctl_wire::{AgentError, CHUNK, ErrorKind, Exec, Reply, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;

use super::channel::{Channel, Control, Input, cancelled};
use super::failed;
use crate::{accounts, identity};

/// A program's PATH, as login(1) sets it for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program and streams its output.
///
/// The program has finished when its main process has exited and the output of that process has been read: children that keep running and
/// hold the pipes open are not waited for.
pub fn run(exec: &Exec, channel: &Arc<Channel>) -> Result<Reply, AgentError> {
    let mut running = Running::start(exec)?;
    if exec.stdin {
        feed(running.stdin.take(), channel.clone())?;
    }
    let deadline = exec.timeout_ms.map(|limit| Instant::now() + Duration::from_millis(limit));
    let outcome = running.watch(channel, deadline);
    if outcome.is_err() {
        running.signal(Signal::KILL);
    }
    let status = running.child.wait().map_err(failed("wait for the program"))?;
    outcome?;
    let signal = status.signal();
    Ok(Reply::Exited { code: status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)), signal })
}

struct Running {
    child: Child,
    group: Option<Pid>,
    exited: OwnedFd,
    stdin: Option<Box<dyn Write + Send>>,
    outputs: Vec<(Stream, File)>,
    terminal: Option<File>,
}

impl Running {
    fn start(exec: &Exec) -> Result<Self, AgentError> {
        let Some(program) = exec.argv.first() else {
            return Err(AgentError { kind: ErrorKind::Invalid, message: "no program was given".into() });
        };
        let account = accounts::find(Path::new("/"), exec.user.as_deref().unwrap_or("0")).map_err(failed("user"))?;
        let mut command = Command::new(program);
        command.args(&exec.argv[1..]).env_clear();
        let own = [("PATH", PATH), ("LANG", "C.UTF-8"), ("HOME", &account.home), ("USER", &account.name)];
        command.envs(own).envs([("LOGNAME", &account.name), ("SHELL", &account.shell)]).envs(identity::environment()).envs(&exec.env);
        let home = Some(&account.home).filter(|home| Path::new(home).is_dir()).cloned();
        command.current_dir(exec.cwd.clone().or(home).unwrap_or_else(|| "/".to_owned()));
        let pair = exec.terminal.map(terminal).transpose().map_err(failed("open a terminal"))?;
        match &pair {
            Some((_, slave)) => {
                let copy = || slave.try_clone().map(Stdio::from).map_err(failed("open a terminal"));
                command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            }
            None => {
                command.stdin(if exec.stdin { Stdio::piped() } else { Stdio::null() });
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let (on_terminal, uid, gid, groups) = (pair.is_some(), account.uid, account.gid, account.groups);
        // SAFETY: between fork and exec only system calls are made, on values that were built before the fork.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                if on_terminal && libc::ioctl(0, libc::TIOCSCTTY as _, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
                if uid != libc::geteuid()
                    && (libc::setgroups(groups.len(), groups.as_ptr()) != 0 || libc::setgid(gid) != 0 || libc::setuid(uid) != 0)
                {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(failed(program))?;
        drop(command);
        let group = Pid::from_raw(child.id().cast_signed());
        let exited = group
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|why| failed("watch the program")(why.into()))?;
        let mut outputs = Vec::new();
        let (mut stdin, mut screen) = (child.stdin.take().map(|pipe| Box::new(pipe) as _), None);
        if let Some((master, slave)) = pair {
            drop(slave);
            let copy = || master.try_clone().map_err(failed("open a terminal"));
            stdin = Some(Box::new(copy()?) as _);
            screen = Some(copy()?);
            outputs.push((Stream::Out, master));
        }
        outputs.extend(child.stdout.take().map(|pipe| (Stream::Out, File::from(OwnedFd::from(pipe)))));
        outputs.extend(child.stderr.take().map(|pipe| (Stream::Err, File::from(OwnedFd::from(pipe)))));
        for (_, file) in &outputs {
            let flags = fcntl_getfl(file).map_err(|why| failed("prepare a pipe")(why.into()))?;
            fcntl_setfl(file, flags | OFlags::NONBLOCK).map_err(|why| failed("prepare a pipe")(why.into()))?;
        }
        Ok(Self { child, group, exited, stdin, outputs, terminal: screen })
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Streams until the program has exited and its output has been read.
    fn watch(&mut self, channel: &Channel, deadline: Option<Instant>) -> Result<(), AgentError> {
        let mut ended = false;
        loop {
            if channel.is_cancelled() {
                return Err(cancelled());
            }
            for control in channel.controls() {
                self.obey(control);
            }
            let credit = channel.credit();
            let drained = credit == 0 || !self.pump(channel);
            if ended && drained && credit > 0 {
                return Ok(());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(AgentError { kind: ErrorKind::TimedOut, message: "the program exceeded its time limit".into() });
            }
            if drained {
                ended |= self.wait(channel, credit > 0, ended, left)?;
            }
        }
    }

    fn obey(&self, control: Control) {
        match (control, &self.terminal) {
            (Control::Signal(number), _) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.signal(signal);
                }
            }
            (Control::Resize(columns, rows), Some(terminal)) => {
                let _ = rustix::termios::tcsetwinsize(terminal, window(columns, rows));
            }
            (Control::Resize(..), None) => {}
        }
    }

    /// Sends available data, one chunk per output; returns whether there was any. An output at end of file is closed.
    fn pump(&mut self, channel: &Channel) -> bool {
        let mut any = false;
        self.outputs.retain_mut(|(stream, file)| {
            let mut chunk = vec![0; CHUNK.min(channel.credit())];
            if chunk.is_empty() {
                return true;
            }
            match file.read(&mut chunk) {
                Ok(0) => false,
                Ok(length) => {
                    chunk.truncate(length);
                    channel.send(*stream, chunk);
                    any = true;
                    true
                }
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => true,
                // A terminal whose last user has gone returns EIO.
                Err(_) => false,
            }
        });
        any
    }

    /// Waits for output (if there is credit for it), the program's exit, or a control from the controller; returns whether the program
    /// has exited.
    fn wait(&self, channel: &Channel, readable: bool, ended: bool, left: Option<Duration>) -> Result<bool, AgentError> {
        let mut watched = vec![PollFd::from_borrowed_fd(channel.wake(), PollFlags::IN)];
        if !ended {
            watched.push(PollFd::new(&self.exited, PollFlags::IN));
        }
        if readable {
            watched.extend(self.outputs.iter().map(|(_, file)| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)));
        }
        let left = left.map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut watched, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(failed("poll")(why.into())),
        }
        if !watched[0].revents().is_empty() {
            channel.calm();
        }
        Ok(!ended && !watched[1].revents().is_empty())
    }
}

/// Writes the request's input to the program until either one ends.
fn feed(stdin: Option<Box<dyn Write + Send>>, channel: Arc<Channel>) -> Result<(), AgentError> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let run = move || {
        while let Ok(Input::Data(bytes)) = channel.next_input() {
            if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("stdin".into()).spawn(run).map(drop).map_err(failed("start a thread"))
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A new terminal of this size (columns, rows): our side and the program's.
fn terminal((columns, rows): (u16, u16)) -> io::Result<(File, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    rustix::termios::tcsetwinsize(&master, window(columns, rows))?;
    let path = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    Ok((File::from(master), File::from(slave)))
}
