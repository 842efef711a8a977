//! The faults that are in effect, in one file that is replaced as a whole.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use labctl_chaos::{FaultError, Journal, Lease};

use crate::home::LabHome;
use crate::persist;

/// A lab's journal of faults.
pub struct FaultJournal {
    file: PathBuf,
}

impl FaultJournal {
    /// The lab's journal.
    pub fn new(home: &LabHome) -> Self {
        Self { file: home.journal() }
    }

    fn read(&self) -> Result<Vec<Lease>, FaultError> {
        let kept = persist::read_json(&self.file).map_err(|why| FaultError::new(why.to_string()))?;
        Ok(kept.unwrap_or_default())
    }

    /// Changes the journal under a lock: a scenario and the supervisor may want to change it at the same time.
    fn change(&self, change: impl FnOnce(&mut Vec<Lease>)) -> Result<(), FaultError> {
        let failed = |why: std::io::Error| FaultError::new(format!("{}: {why}", self.file.display()));
        let lock = self.file.with_extension("lock");
        let lock: File = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut leases = self.read()?;
        change(&mut leases);
        persist::write_json(&self.file, &leases).map_err(|why| FaultError::new(why.to_string()))
    }
}

impl Journal for FaultJournal {
    fn record(&self, lease: &Lease) -> Result<(), FaultError> {
        self.change(|leases| leases.push(lease.clone()))
    }

    fn healed(&self, id: &str) -> Result<(), FaultError> {
        self.change(|leases| leases.retain(|lease| lease.id != id))
    }

    fn open(&self) -> Result<Vec<Lease>, FaultError> {
        self.read()
    }
}
