//! Runs the programs of a build to completion, with empty input and a log file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use labctl_spec::proxy::without_password;

use crate::entry::EntryLock;
use crate::store_error::{StoreError, at};

/// How a program exited.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Success.
    Well,
    /// The program is not installed.
    NotFound,
    /// Failure.
    Badly {
        /// Exit code or signal, for display.
        status: String,
        /// The last informative lines of its log.
        lines: Vec<String>,
        /// Whether the log reports a full disk.
        disk_full: bool,
    },
}

/// Runs a program to completion. Its output is appended to `log`, after a line that shows the command.
pub(crate) fn run(mut command: Command, lock: &EntryLock, log: &Path) -> Result<Ended, StoreError> {
    let mut out = File::options().create(true).append(true).open(log).map_err(at("open", log))?;
    writeln!(out, "+ {}", command.get_program().to_string_lossy()).map_err(at("write", log))?;
    let start = out.seek(SeekFrom::End(0)).map_err(at("read", log))?;
    let share = || out.try_clone().map_err(at("open", log));
    command.stdin(lock.stdin()?).stdout(Stdio::from(share()?)).stderr(Stdio::from(share()?));
    die_with_us(&mut command);
    let status = match command.spawn() {
        Ok(mut child) => child.wait().map_err(at("wait for the program that writes", log))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Ended::NotFound),
        Err(error) => return Err(at("start the program that writes", log)(error)),
    };
    if status.success() {
        return Ok(Ended::Well);
    }
    let text = read_from(log, start).unwrap_or_default();
    Ok(Ended::Badly { status: in_words(status), lines: last_words(&text), disk_full: text.contains("No space left on device") })
}

/// Asks the kernel to kill the program if the thread that started it, and waits for it, exits. A killed labctl
/// therefore leaves no build running. `unshare` ignores SIGTERM while it waits, so it gets SIGKILL, and everything it
/// started dies with it.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let signal = match command.get_program().to_str() {
        Some("unshare") => rustix::process::Signal::KILL,
        _ => rustix::process::Signal::TERM,
    };
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        Ok(())
    };
    // SAFETY: between fork and exec the hook only makes one prctl system call; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(hook);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}

fn read_from(log: &Path, start: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// The lines that name an error, if any (`E: ...`, `error: ...`); otherwise the last three that are not mere progress.
fn last_words(text: &str) -> Vec<String> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("e:") || line.starts_with("error") || line.starts_with("dpkg: error")
    };
    let mut errors: Vec<&str> = lines().filter(is_error).collect();
    if errors.is_empty() {
        errors = lines().filter(|line| !line.starts_with("go: downloading") && !line.starts_with("I: ")).collect();
    }
    errors.dedup();
    let skip = errors.len().saturating_sub(3);
    // A program may name the proxy that it failed to reach.
    errors.into_iter().skip(skip).map(without_password).collect()
}

/// Finds a program in `PATH` and in the folders for administration programs, which an ordinary user's `PATH` lacks on
/// Debian.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Ended, String) {
        let folder = tempfile::tempdir().unwrap();
        let lock = EntryLock::try_take(folder.path(), "k").unwrap().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = run(command, &lock, &log).unwrap();
        (ended, std::fs::read_to_string(&log).unwrap())
    }

    #[test]
    fn success_keeps_the_log() {
        let (ended, log) = shell("echo out; echo err >&2; cat");
        assert!(matches!(ended, Ended::Well));
        assert_eq!(log, "+ sh\nout\nerr\n");
    }

    #[test]
    fn failure_names_the_error_line_and_a_full_disk() {
        let (ended, _) = shell("echo start; echo 'E: cannot write: No space left on device'; echo bye; exit 25");
        let Ended::Badly { status, lines, disk_full } = ended else { panic!("{ended:?}") };
        assert_eq!(status, "exit code 25");
        assert_eq!(lines, ["E: cannot write: No space left on device"]);
        assert!(disk_full);
    }

    #[test]
    fn without_an_error_line_the_last_lines_speak() {
        let text = "go: downloading example.com/b v1\nexample.com/b: reading it: 404\n\n  not found\n";
        assert_eq!(last_words(text), ["example.com/b: reading it: 404", "not found"]);
    }

    #[test]
    fn an_absent_program_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let lock = EntryLock::try_take(folder.path(), "k").unwrap().unwrap();
        let ended = run(Command::new("no-such-program"), &lock, &folder.path().join("log")).unwrap();
        assert!(matches!(ended, Ended::NotFound));
    }

    #[test]
    fn a_program_keeps_the_lock_when_labctl_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let lock = EntryLock::try_take(folder.path(), "k").unwrap().unwrap();
        let mut child = Command::new("sh").args(["-c", "exec sleep 60"]).stdin(lock.stdin().unwrap()).spawn().unwrap();
        drop(lock);
        assert!(EntryLock::try_take(folder.path(), "k").unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // Wait, because a program that another test is starting holds a copy of the lock until it execs.
        EntryLock::take(folder.path(), "k", || {}).unwrap();
    }
}
