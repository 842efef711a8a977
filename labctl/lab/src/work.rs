//! Locks for commands: only one command at a time changes a lab, and only one lab at a time chooses resources that must be unique.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use crate::event::{Each, Event};
use crate::home::{Home, LabHome};
use crate::{Failure, Kind};

/// Held while a command changes a lab; other commands wait for it.
pub struct Work {
    _lock: File,
}

impl Work {
    /// Waits for the lock.
    pub async fn begin(home: &LabHome, each: Each<'_>) -> Result<Self, Failure> {
        home.make()?;
        let path = home.work_lock();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Failure::io(path.display()))?;
        if file.try_lock().is_err() {
            each(Event::Note { text: "another labctl command is at work on this lab; waiting for it".into() });
        }
        let wait = move || file.lock().map(|()| file);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
        let mut file = waited.map_err(Failure::io(path.display()))?;
        // The process id is only informative; the lock itself is what counts. A full disk must not keep anybody from removing things.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _lock: file })
    }

    /// Process id of another process that is working on the lab; none if there is none or it is this process.
    pub fn of_another(home: &LabHome) -> Result<Option<u32>, Failure> {
        let path = home.work_lock();
        let file = match File::open(&path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Failure::io(path.display()))?,
        };
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        // An older labctl wrote no process id; 0 means unknown.
        let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Some(holder).filter(|holder| *holder != std::process::id()))
    }
}

/// Held while a lab chooses resources that no other lab may have.
pub async fn turn(home: &Home) -> Result<File, Failure> {
    let path = home.labs().join(".turn");
    fs::create_dir_all(home.labs()).map_err(Failure::io(home.labs().display()))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Failure::io(path.display()))?;
    let wait = move || file.lock().map(|()| file);
    let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
    waited.map_err(Failure::io(path.display()))
}
