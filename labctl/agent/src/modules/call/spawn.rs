//! Programs that a module has to run: output is collected, and a child that leaves its pipes open to others cannot hang the agent.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::modules::accounts::passwd::{self, User};
use crate::modules::call::outcome::Fault;
use crate::modules::call::root::Root;
use crate::modules::call::task::Task;

/// Search path for programs unless the task's environment sets one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long to wait for more output after the program has exited, from children that it left behind. (Ansible gives them a second.)
const SILENCE: Duration = Duration::from_millis(300);

/// How long to read in total after the exit, however much they write.
const GRACE: Duration = Duration::from_secs(5);

/// Maximum output of a stream that is kept, in bytes: a program that never stops writing must not use up the guest's memory, and a result
/// travels in one packet.
pub(crate) const MOST_OUTPUT: usize = 8 << 20;

/// A program to run.
#[derive(Debug, Default)]
pub(crate) struct Spawn {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) stdin: Option<Vec<u8>>,
    /// The user and all of the user's groups; the agent's own if none.
    pub(crate) user: Option<(User, Vec<u32>)>,
    pub(crate) timeout: Option<Duration>,
}

/// The result of a program.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Exit code; minus the signal's number if it was killed by a signal, as in Python.
    pub(crate) rc: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Whether it was killed because of its time limit.
    pub(crate) timed_out: bool,
    /// Whether output beyond [`MOST_OUTPUT`] was discarded.
    pub(crate) cut: bool,
}

impl Output {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Spawn {
    /// The program with the task's environment and time limit.
    pub(crate) fn of(task: &Task<'_>, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: task.call.environment.clone(),
            timeout: task.call.timeout_ms.map(Duration::from_millis),
            ..Self::default()
        }
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn cwd(mut self, folder: &Path) -> Self {
        self.cwd = Some(folder.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Runs as this user.
    pub(crate) fn by_user(mut self, root: &Root, name: &str) -> Result<Self, Fault> {
        let user = passwd::user(root, name).ok_or_else(|| Fault::from(format!("failed to look up user {name} to become")))?;
        let groups = passwd::group_ids(root, &user);
        self.user = Some((user, groups));
        Ok(self)
    }

    /// Runs it to completion.
    pub(crate) fn run(&self) -> io::Result<Output> {
        let mut child = self.start()?;
        let result = collect(&mut child, self.stdin.as_deref().unwrap_or_default(), self.timeout);
        if result.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        result
    }

    /// Runs it; anything but exit code 0 is a fault that contains the output.
    pub(crate) fn must(&self) -> Result<Output, Fault> {
        let name = self.argv.join(" ");
        let output = self.run().map_err(|err| Fault::from(format!("could not run {name}: {err}")).with("rc", 2))?;
        if output.rc == 0 {
            return Ok(output);
        }
        let said = if output.stderr.is_empty() { output.out() } else { output.err() };
        let why = if output.timed_out { "it exceeded its time limit" } else { said.trim() };
        Err(Fault::from(format!("{name} failed: {why}")).with("rc", output.rc).with("stdout", output.out()).with("stderr", output.err()))
    }

    fn start(&self) -> io::Result<Child> {
        let (program, arguments) =
            self.argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program was given"))?;
        let inherited = std::env::var("PATH").ok().filter(|_| std::env::var_os(labctl_wire::INHERIT_VARIABLE).is_some());
        let path = self.env.get("PATH").or(inherited.as_ref()).map_or(PATH, String::as_str);
        let found = find_program(program, path, self.cwd.as_deref()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        let mut command = Command::new(found);
        command.arg0(program).args(arguments);
        let inherits = self.user.is_none() && std::env::var_os(labctl_wire::INHERIT_VARIABLE).is_some();
        if !inherits {
            command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        }
        let (home, name, shell) = match &self.user {
            Some((user, _)) => (user.home.as_str(), user.name.as_str(), user.shell.as_str()),
            None => ("/root", "root", "/bin/sh"),
        };
        let inherited = std::env::var("HOME").ok().filter(|home| !home.is_empty());
        let home = if self.user.is_none() { inherited.as_deref().unwrap_or(home) } else { home };
        if !inherits {
            command.env("HOME", home).env("USER", name).env("LOGNAME", name).env("SHELL", shell);
        }
        command.env_remove(labctl_wire::STATE_VARIABLE).env_remove(labctl_wire::INHERIT_VARIABLE);
        command.envs(&self.env);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        } else if self.user.is_some() && Path::new(home).is_dir() {
            command.current_dir(home);
        }
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some((user, groups)) = &self.user {
            let groups: Vec<libc::gid_t> = groups.clone();
            let (uid, gid) = (user.uid, user.gid);
            // SAFETY: between fork and exec only system calls are made; nothing is allocated.
            unsafe {
                command.pre_exec(move || {
                    let failed = libc::setgroups(groups.len(), groups.as_ptr()) != 0 || libc::setgid(gid) != 0 || libc::setuid(uid) != 0;
                    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
                });
            }
        }
        command.spawn()
    }
}

/// The file that `program` refers to: itself if it contains a slash, else the first match in `path`.
pub(crate) fn find_program(program: &str, path: &str, cwd: Option<&Path>) -> Option<PathBuf> {
    let runs = |file: &Path| {
        std::fs::metadata(file).is_ok_and(|meta| {
            use std::os::unix::fs::PermissionsExt;
            meta.is_file() && meta.permissions().mode() & 0o111 != 0
        })
    };
    if program.contains('/') {
        let file = PathBuf::from(program);
        let seen = cwd.map_or_else(|| file.clone(), |cwd| cwd.join(&file));
        return seen.exists().then_some(file);
    }
    if program.is_empty() {
        return None;
    }
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| runs(file))
}

/// Finds the program in the usual places.
pub(crate) fn which(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    find_program(&program.as_ref().to_string_lossy(), PATH, None)
}

/// Reads available data; returns true at the end of the stream.
fn drain(stream: &mut impl Read, into: &mut Vec<u8>, cut: &mut bool) -> bool {
    let mut block = [0; 16 << 10];
    match stream.read(&mut block) {
        Ok(0) => true,
        Ok(length) => {
            let kept = length.min(MOST_OUTPUT.saturating_sub(into.len()));
            into.extend_from_slice(&block[..kept]);
            *cut |= kept < length;
            false
        }
        Err(err) => !matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

fn collect(child: &mut Child, mut input: &[u8], timeout: Option<Duration>) -> io::Result<Output> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdin) = &stdin {
        nonblocking(stdin.as_fd())?;
    }
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut output = Output::default();
    let (mut status, mut ended) = (None, None);
    loop {
        if input.is_empty() {
            stdin = None;
        }
        if status.is_some() && stdout.is_none() && stderr.is_none() {
            break;
        }
        let wait = match ended {
            Some(ended) if Instant::now() > ended + GRACE => break,
            Some(_) => Some(SILENCE),
            None => deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
        };
        let mut fds = Vec::with_capacity(4);
        let mut index = [None; 4];
        let watched = [
            (status.is_none()).then(|| (pidfd.as_fd(), PollFlags::IN)),
            stdout.as_ref().map(|s| (s.as_fd(), PollFlags::IN)),
            stderr.as_ref().map(|s| (s.as_fd(), PollFlags::IN)),
            stdin.as_ref().map(|s| (s.as_fd(), PollFlags::OUT)),
        ];
        for (slot, watch) in watched.into_iter().enumerate() {
            if let Some((fd, flags)) = watch {
                index[slot] = Some(fds.len());
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let ready = match poll(&mut fds, wait.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let fired = index.map(|at| at.is_some_and(|at| !fds[at].revents().is_empty()));
        drop(fds);
        if ready == 0 {
            if status.is_some() {
                break;
            }
            output.timed_out = true;
            let _ = kill_process_group(pid, Signal::KILL);
            (status, ended) = (Some(child.wait()?), Some(Instant::now()));
            continue;
        }
        if fired[1] && stdout.as_mut().is_some_and(|s| drain(s, &mut output.stdout, &mut output.cut)) {
            stdout = None;
        }
        if fired[2] && stderr.as_mut().is_some_and(|s| drain(s, &mut output.stderr, &mut output.cut)) {
            stderr = None;
        }
        if fired[3]
            && let Some(pipe) = &mut stdin
        {
            match pipe.write(input) {
                Ok(length) => input = &input[length..],
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                // The program does not read its input: not an error.
                Err(_) => input = &[],
            }
        }
        if fired[0] {
            (status, ended) = (Some(child.wait()?), Some(Instant::now()));
            stdin = None;
            input = &[];
        }
    }
    let status = match status {
        Some(status) => status,
        None => child.wait()?,
    };
    output.rc = status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Spawn {
        Spawn { argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..Spawn::default() }
    }

    #[test]
    fn both_streams_code_and_input() {
        let output = shell("cat; echo err >&2; exit 3").stdin("in").run().unwrap();
        assert_eq!((output.rc, output.out().as_str(), output.err().as_str()), (3, "in", "err\n"));
    }

    #[test]
    fn much_input_and_output_do_not_block_each_other() {
        let input = vec![b'x'; 3 << 20];
        let output = shell("cat").stdin(input.clone()).run().unwrap();
        assert_eq!(output.stdout.len(), input.len());
        assert_eq!(shell("exit 0").stdin(input).run().unwrap().rc, 0);
    }

    #[test]
    fn output_without_end_is_cut_and_a_flooding_child_does_not_hang() {
        let output = shell("head -c 20000000 /dev/zero; yes >&2 & exit 4").run().unwrap();
        assert_eq!((output.rc, output.stdout.len(), output.cut), (4, MOST_OUTPUT, true));
    }

    #[test]
    fn a_question_gets_no_answer_and_does_not_hang() {
        let output = shell("read -r answer || echo nobody answers").run().unwrap();
        assert_eq!(output.out(), "nobody answers\n");
    }

    #[test]
    fn a_child_that_keeps_the_pipes_does_not_hang() {
        let begin = Instant::now();
        let output = shell("sleep 60 & echo $!").run().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(30), "it waited for the child");
        let pid: i32 = output.out().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn time_limits_and_signals() {
        let output = Spawn { timeout: Some(Duration::from_millis(50)), ..shell("sleep 60") }.run().unwrap();
        assert!(output.timed_out);
        assert_eq!(output.rc, -9);
        assert_eq!(shell("kill -TERM $$").run().unwrap().rc, -15);
    }

    #[test]
    fn a_missing_program_is_told() {
        let spawn = Spawn { argv: vec!["no-such-program-here".into()], ..Spawn::default() };
        assert_eq!(spawn.run().unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
