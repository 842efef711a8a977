//! Snapshots of a whole lab: saving, restoring, suspending, cloning. The supervisor does the work; this is the commands' side. The on-disk
//! format is described in [`labctl_lab::snapshot`].

mod cloning;
mod diff;
pub mod provisioned;
mod rewind;
mod subnet;

use labctl_lab::client::Supervisor;
use labctl_lab::control::{Answer, Call};
use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::snapshot::{Snapshot, discard, find, place, sweep};
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;

pub use cloning::clone;
pub use diff::{Difference, diff};
pub use rewind::{Memory, finish_interrupted, refuse_failed, restore, resume, suspend};
pub use subnet::Subnet;

/// How a snapshot is saved.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Replace an existing snapshot of the same name.
    pub replace: bool,
    /// Compare the saved memory with that of the stopped nodes, page by page; they are stopped for longer.
    pub verify: bool,
}

/// Takes a snapshot of all nodes, which must be running. One of the same name is replaced only on request.
pub async fn save(home: &Home, lab: &LabName, name: &str, how: How, each: Each<'_>) -> Result<Snapshot, Failure> {
    let lab_home = home.lab(lab);
    if place(&lab_home, name)?.join("snapshot.json").exists() && !how.replace {
        return Err(Failure::new(Kind::Conflict, format!("snapshot `{name}` already exists"))
            .hint(format!("choose another name, replace it with --replace, or remove it with `labctl snapshot rm {name}`")));
    }
    let supervisor = Supervisor::ensure(&lab_home, lab, each).await?;
    let saved = take(&supervisor, name, how.verify, each).await;
    sweep(home)?;
    saved
}

/// Has the supervisor take a snapshot.
pub(crate) async fn take(supervisor: &Supervisor, name: &str, verify: bool, each: Each<'_>) -> Result<Snapshot, Failure> {
    let mut connection = supervisor.call(&Call::Save { name: name.to_owned(), verify }).await?;
    loop {
        match connection.answer().await? {
            Answer::Event(event) => each(event),
            Answer::Saved(saved) => return Ok(*saved),
            other => return Err(Failure::new(Kind::Internal, format!("unexpected answer from the supervisor: {other:?}"))),
        }
    }
}

/// Removes a snapshot, even one that cannot be read.
pub fn remove(home: &Home, lab: &LabName, name: &str) -> Result<(), Failure> {
    let lab_home = home.lab(lab);
    let place = place(&lab_home, name)?;
    if !place.exists() {
        find(&lab_home, name)?;
    }
    discard(&place)?;
    sweep(home)
}
