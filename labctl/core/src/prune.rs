//! What no lab owns any more: machines, lab folders without a record, stale socket folders, unfinished templates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use labctl_lab::Failure;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_template::unfinished;
use serde::Serialize;

/// A leftover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Orphan {
    /// A running QEMU that belongs to no lab of this home.
    Machine {
        /// Its process id.
        pid: i32,
        /// `labctl:LAB/NODE`.
        label: String,
        /// The machine's UUID.
        uuid: String,
    },
    /// A lab's folder without a record, or with a damaged one.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder in which a killed process was making or removing a template or a layer.
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A socket folder that belongs to no lab.
    Sockets {
        /// The folder.
        path: PathBuf,
    },
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { pid, label, uuid } => write!(f, "machine {label}, process {pid}, uuid {uuid}"),
            Self::Folder { path } => write!(f, "lab folder {} without a record", path.display()),
            Self::Unfinished { path } => write!(f, "unfinished template {}", path.display()),
            Self::Sockets { path } => write!(f, "sockets {} that belong to no lab", path.display()),
        }
    }
}

/// All leftovers of this home. Machines of other homes are never included.
pub fn find(home: &Home) -> Result<Vec<Orphan>, Failure> {
    let (mut uuids, mut sockets, mut orphans) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for name in home.lab_names() {
        let lab = home.lab(&name);
        // Its sockets are in use even without a record: `up` may be running.
        sockets.insert(lab.sockets().to_owned());
        match Record::load(&lab) {
            Ok(Some(record)) => uuids.extend(record.nodes.into_values().map(|node| node.uuid)),
            // Leave another version's record to that version.
            Err(why) if !is_damaged(&lab.record()) => return Err(why),
            _ if !in_use(&lab.supervisor_lock()) => orphans.push(Orphan::Folder { path: lab.folder().to_owned() }),
            _ => {}
        }
    }
    // Machines first: their files are in the folders.
    #[cfg(target_os = "linux")]
    orphans.splice(0..0, machines::find(&[home.labs()], &uuids)?);
    for path in folders(home.scratch()) {
        // Only names of the form that `Home::lab` makes: the folder holds other things too.
        let ours = path.file_name().is_some_and(|name| name.len() == 8 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit));
        if ours && !sockets.contains(&path) && !listened_to(&path) {
            orphans.push(Orphan::Sockets { path });
        }
    }
    orphans.extend(unfinished::find(home).into_iter().map(|path| Orphan::Unfinished { path }));
    Ok(orphans)
}

/// Stops and removes it. If it is already gone, or has become something else, it is left alone.
pub async fn remove(home: &Home, orphan: &Orphan) -> Result<(), Failure> {
    match orphan {
        #[cfg(target_os = "linux")]
        Orphan::Machine { pid, label, uuid } => machines::end(*pid, label, uuid).await,
        #[cfg(not(target_os = "linux"))]
        Orphan::Machine { .. } => Ok(()),
        Orphan::Unfinished { path } => {
            unfinished::remove(home, path);
            Ok(())
        }
        Orphan::Folder { path } | Orphan::Sockets { path } => match fs::remove_dir_all(path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path.display())(why)),
            _ => Ok(()),
        },
    }
}

/// Whether the record is not JSON at all.
fn is_damaged(record: &Path) -> bool {
    fs::read(record).is_ok_and(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err())
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// Whether a process holds the lock.
fn in_use(lock: &Path) -> bool {
    fs::File::open(lock).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Whether a process listens on a socket in the folder: another home of this user shares the runtime folder.
fn listened_to(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| std::os::unix::net::UnixStream::connect(path).is_ok())
}

#[cfg(target_os = "linux")]
mod machines {
    //! QEMU processes, from /proc (proc(5)).

    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    use tokio::io::unix::AsyncFd;

    use super::Orphan;
    use labctl_lab::Failure;

    /// Machines whose files are below one of `homes` and whose UUID is unknown.
    pub fn find(homes: &[PathBuf], known: &BTreeSet<String>) -> Result<Vec<Orphan>, Failure> {
        let me = rustix::process::getuid().as_raw();
        let entries = fs::read_dir("/proc").map_err(Failure::io("/proc"))?;
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may exit at any time; then it is not an orphan.
            if !entry.metadata().is_ok_and(|about| about.uid() == me) {
                continue;
            }
            let Some((label, uuid, words)) = machine(pid) else { continue };
            let below = |word: &String| homes.iter().any(|home| word.contains(&format!("={}/", home.display())));
            if !known.contains(&uuid) && words.iter().any(below) {
                found.push(Orphan::Machine { pid, label, uuid });
            }
        }
        Ok(found)
    }

    /// Label, UUID and command line of a process, if it is one of labctl's machines.
    fn machine(pid: i32) -> Option<(String, String, Vec<String>)> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let after = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1)).cloned();
        let label = after("-name")?.strip_prefix("guest=")?.to_owned();
        let uuid = after("-uuid")?;
        label.starts_with("labctl:").then_some((label, uuid, words))
    }

    /// Kills the process if it is still that machine, and waits for it to exit. The descriptor is opened first: from then on the process id
    /// cannot be reused unnoticed.
    pub async fn end(pid: i32, label: &str, uuid: &str) -> Result<(), Failure> {
        let fail = |why: std::io::Error| Failure::io(format!("cannot end process {pid}"))(why);
        let Some(number) = Pid::from_raw(pid) else { return Ok(()) };
        let process = match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(()),
            Err(why) => return Err(fail(why.into())),
        };
        if !machine(pid).is_some_and(|(found, its, _)| found == label && its == uuid) {
            return Ok(());
        }
        match pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(why) => return Err(fail(why.into())),
        }
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        let process = unsafe { AsyncFd::register_with_interest(process, tokio::io::Interest::READABLE) }.map_err(|why| fail(why.into()))?;
        // Readable once it has exited (pidfd_open(2)).
        process.readable().await.map_err(fail).map(drop)
    }

    #[cfg(test)]
    mod tests {
        use std::io::Read;
        use std::process::{Command, Stdio};

        use super::*;

        #[tokio::test]
        async fn only_unknown_machines_of_this_home_are_found_and_ended() {
            let home = tempfile::tempdir().unwrap();
            let uuid = format!("00000000-0000-4000-8000-{:012x}", std::process::id());
            let disk = format!("file={}/labs/x/disk", home.path().display());
            // A process with a machine's command line. It waits for input, which stays open until the process is killed. Its first line is
            // awaited: for a moment after exec(2) a process has no command line in /proc.
            let mut child = Command::new("sh")
                .args(["-c", "echo; read line", "-name", "guest=labctl:x/a", "-uuid", &uuid, "-drive", &disk])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
            let homes = [home.path().join("labs")];
            let found = find(&homes, &BTreeSet::new()).unwrap();
            let wanted = Orphan::Machine { pid: child.id() as i32, label: "labctl:x/a".into(), uuid: uuid.clone() };
            assert_eq!(found, [wanted]);
            assert_eq!(find(&homes, &BTreeSet::from([uuid.clone()])).unwrap(), []);
            assert_eq!(find(&[PathBuf::from("/elsewhere/labs")], &BTreeSet::new()).unwrap(), []);
            let pid = child.id() as i32;
            end(pid, "labctl:x/b", &uuid).await.unwrap();
            assert!(child.try_wait().unwrap().is_none(), "another label must not be ended");
            end(pid, "labctl:x/a", &uuid).await.unwrap();
            assert!(!child.wait().unwrap().success());
            end(pid, "labctl:x/a", &uuid).await.unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_json_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("lab.json");
        assert!(!is_damaged(&record), "it is not there");
        for (text, damaged) in [("{", true), ("", true), ("{\"version\": 9}", false)] {
            fs::write(&record, text).unwrap();
            assert_eq!(is_damaged(&record), damaged, "{text}");
        }
    }
}
