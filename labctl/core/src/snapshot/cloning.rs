//! A second lab from a snapshot of the first.

use labctl_spec::ident::LabName;

use super::{CLONED, Snapshot, discard, find, is_suspended, place, rewind, sweep, take};
use crate::client::Supervisor;
use crate::home::Home;
use crate::lifecycle::{Each, Work, turn};
use crate::record::Record;
use crate::{Failure, Kind};

/// Makes the labs `clones` from the snapshot `name` of `origin`, or from what `origin` is now. Inside, they are the same down to the
/// addresses; on the host each has addresses of its own.
pub async fn clone(home: &Home, origin: &LabName, name: Option<&str>, clones: &[LabName], each: Each<'_>) -> Result<(), Failure> {
    let origin_home = home.lab(origin);
    if let Some(taken) = clones.iter().find(|clone| home.lab(clone).record().exists()) {
        return Err(Failure::new(Kind::Conflict, format!("there is a lab `{taken}` already"))
            .hint(format!("nothing was changed; choose another name, or `labctl --lab {taken} destroy` first")));
    }
    let snapshot = match name {
        Some(name) => find(&origin_home, name)?,
        None if is_suspended(&origin_home) => find(&origin_home, super::SUSPENDED)?,
        None => take(&Supervisor::ensure(&origin_home, origin, each).await?, CLONED, each)
            .await
            .map_err(|why| why.hint(format!("`labctl --lab {origin} up` first, or name a snapshot: --snapshot NAME")))?,
    };
    let folder = place(&origin_home, &snapshot.name)?;
    snapshot.check(&folder)?;
    for clone in clones {
        make(home, clone, &folder, &snapshot, each).await?;
    }
    if snapshot.name == CLONED {
        discard(&folder)?;
        sweep(home)?;
    }
    Ok(())
}

async fn make(home: &Home, clone: &LabName, folder: &std::path::Path, snapshot: &Snapshot, each: Each<'_>) -> Result<(), Failure> {
    let clone_home = home.lab(clone);
    let _work = Work::begin(&clone_home, each).await?;
    {
        // Two labs may be made at once; each must see what the other has taken.
        let _turn = turn(home).await?;
        if Record::load(&clone_home)?.is_some() {
            return Err(Failure::new(Kind::Conflict, format!("there is a lab `{clone}` already")));
        }
        snapshot.record.cloned(home, clone)?.save(&clone_home)?;
    }
    rewind::go_back(home, clone, folder, snapshot, rewind::Memory::GoOn, each).await.map(drop)
}
