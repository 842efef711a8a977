//! Where labctl keeps its files, following the XDG base directory specification.
//!
//! ```text
//! $XDG_DATA_HOME/labctl/          ($LABCTL_HOME instead, if set)
//!   store/                        images, artifacts and templates; several homes may share one
//!   layers/ID.qcow2               disks as saved in snapshots
//!   provisioned/KEY/              snapshots of labs that were just provisioned
//!   shipped/DIGEST/               the files that are embedded in the program
//!   labs/NAME/                    one lab: lab.json, supervisor.log, nodes/NODE/{disk.qcow2, console.log, qemu.log, ...}
//!   labs/NAME/run/                its sockets
//!   run/                          short-lived files and sockets
//!   accel.json                    the accelerator, proven to work
//! ```
//!
//! Sockets are beside what they belong to, and not in `$XDG_RUNTIME_DIR`: that is another folder, or none, in another session, and systemd
//! removes it when the user logs out. [`address`](crate::address) says how they are reached if the path is long.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use labctl_machine::driver::Notes;
use labctl_spec::ident::{LabName, NodeName};

use crate::{Failure, Kind, address, environment};

/// Length of the names of folders for sockets below `run/`, with the separator: `/l-XXXXXXXX`.
const BELOW_RUN: usize = 11;

/// labctl's folders on this host, for this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    data: PathBuf,
    /// For short-lived files and sockets, under a path that is short enough for them.
    scratch: PathBuf,
    store: PathBuf,
}

impl Home {
    /// The user's folders, created if missing.
    pub fn open() -> Result<Self, Failure> {
        let (data, decided) = environment::home()?;
        let hint = || environment::way_out(decided, &data);
        let home = Self::at(&data, &data.join("run")).map_err(|why| why.hint(hint()))?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(&data, access).map_err(|why| Failure::io(data.display())(why.into()).hint(hint()))?;
        Ok(home)
    }

    /// These folders, created if missing: `data` for persistent files, `scratch` for short-lived ones.
    pub fn at(data: &Path, scratch: &Path) -> Result<Self, Failure> {
        // Files in a store refer to each other by path, and these paths must not depend on how one home reaches the store.
        let store = data.join("store");
        let store = fs::canonicalize(&store).unwrap_or(store);
        let home = Self { data: data.to_owned(), scratch: address::short(scratch, BELOW_RUN), store };
        for folder in [data, scratch, &home.agent()] {
            make_private(folder)?;
        }
        address::link(scratch, &home.scratch)?;
        Ok(home)
    }

    /// Everything persistent.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The store of images, artifacts and templates.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The disks that snapshots are based on.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// Snapshots of labs that were just provisioned.
    pub fn provisioned(&self) -> PathBuf {
        self.data.join("provisioned")
    }

    /// The folder of the agent that runs on the controller itself.
    pub fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    /// Where the files embedded in the program are unpacked.
    pub fn shipped(&self) -> PathBuf {
        self.data.join("shipped")
    }

    /// What drivers have found out about this host.
    pub fn driver_notes(&self) -> Notes {
        Notes { folder: self.data.clone(), scratch: self.scratch.clone() }
    }

    /// A folder for short-lived files.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The folder that holds all labs.
    pub fn labs(&self) -> PathBuf {
        self.data.join("labs")
    }

    /// A lab's folders. They may not exist yet.
    pub fn lab(&self, name: &LabName) -> LabHome {
        let folder = self.labs().join(name.as_str());
        LabHome { sockets: address::short(&folder.join(RUN), 0), folder }
    }

    /// Names of all labs that have a folder, sorted.
    pub fn lab_names(&self) -> Vec<LabName> {
        let entries = fs::read_dir(self.labs()).into_iter().flatten().flatten();
        let mut names: Vec<LabName> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        names
    }
}

/// The folders of the crates that make up a supervisor, separated by spaces. A change in any of them changes the supervisor's name.
pub const SUPERVISOR_CRATES: &str = env!("LABCTL_SUPERVISOR_CRATES");

/// The folder of a lab's sockets, in the lab's own.
const RUN: &str = "run";

/// One lab's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabHome {
    folder: PathBuf,
    sockets: PathBuf,
}

impl LabHome {
    /// Creates the folders.
    pub fn make(&self) -> Result<(), Failure> {
        make_private(&self.folder)?;
        make_private(&self.folder.join(RUN))?;
        self.reach()
    }

    /// Makes sure that the sockets can be reached, if the lab exists: their short path may have been removed.
    pub fn reach(&self) -> Result<(), Failure> {
        match self.folder.exists() {
            true => address::link(&self.folder.join(RUN), &self.sockets),
            false => Ok(()),
        }
    }

    /// Removes the sockets.
    pub fn remove_sockets(&self) -> Result<(), Failure> {
        for folder in [&self.sockets, &self.folder.join(RUN)] {
            match fs::remove_dir_all(folder) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(Failure::io(folder.display())(why)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything persistent.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the sockets, under a path that is short enough for them.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The lab's record.
    pub fn record(&self) -> PathBuf {
        self.folder.join("lab.json")
    }

    /// Locked by the lab's supervisor as long as it runs.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.folder.join("supervisor.lock")
    }

    /// The supervisor's log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.folder.join("supervisor.log")
    }

    /// Where the supervisor listens. The name contains the build, so a supervisor from a different build, which may use a different
    /// protocol, is never mistaken for ours.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.sockets.join(concat!("supervisor-", env!("LABCTL_SUPERVISOR_BUILD")))
    }

    /// Where supervisors from other builds listen, or listened while they ran.
    pub fn foreign_supervisor_sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.sockets).into_iter().flatten().flatten();
        let supervisors = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"supervisor"));
        supervisors.map(|entry| entry.path()).filter(|path| *path != self.supervisor_socket()).collect()
    }

    /// Locked by the command that changes the lab; holds its process id.
    pub fn work_lock(&self) -> PathBuf {
        self.folder.join("work.lock")
    }

    /// Faults that are in effect.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("faults.json")
    }

    /// A node's folder.
    pub fn node(&self, name: &NodeName) -> PathBuf {
        self.folder.join("nodes").join(name.as_str())
    }
}

/// Creates a folder that only this user can enter; fails if it belongs to another user.
fn make_private(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Failure::io(folder.display()))?;
    let about = fs::metadata(folder).map_err(Failure::io(folder.display()))?;
    if about.uid() != rustix::process::getuid().as_raw() {
        let message = format!("{} belongs to user {}, not to you", folder.display(), about.uid());
        return Err(Failure::new(Kind::Host, message).hint("set LABCTL_HOME to a folder of your own"));
    }
    Ok(())
}

/// [`make_private`] for what holds guests' memory and disks: a folder that others could enter is closed to them. The home itself may be
/// open on purpose, if others use its store.
pub fn make_closed(folder: &Path) -> Result<(), Failure> {
    make_private(folder)?;
    let about = fs::metadata(folder).map_err(Failure::io(folder.display()))?;
    match about.mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(Failure::io(folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_enter_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (new, old) = (folder.path().join("labs/a/nodes/n"), folder.path().join("layers"));
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
        for path in [&new, &old] {
            make_closed(path).unwrap();
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        assert_eq!(mode(&folder.path().join("labs")), 0o700, "its parents too");
    }
}
