//! Creating further labs from a snapshot of the first.

use std::collections::BTreeSet;
use std::path::Path;

use labctl_lab::client::Supervisor;
use labctl_lab::control::Call;
use labctl_lab::event::Each;
use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::Record;
use labctl_lab::snapshot::{CLONED, SUSPENDED, Snapshot, discard, find, folder, is_suspended, place, sweep};
use labctl_lab::work::{Work, turn};
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;

use super::{Subnet, rewind, subnet, take};

/// Creates the labs `clones` from the snapshot `name` of `origin`, or from its current state. Inside they are identical down to the
/// addresses, unless `subnet` gives them others; on the host each has its own addresses. An interrupted clone starts over.
pub async fn clone(
    home: &Home,
    origin: &LabName,
    name: Option<&str>,
    clones: &[LabName],
    subnet: Subnet,
    each: Each<'_>,
) -> Result<(), Failure> {
    let origin_home = home.lab(origin);
    if let Some(taken) = clones.iter().find(|clone| home.lab(clone).record().exists() && !is_begun(home, origin, clone)) {
        return Err(Failure::new(Kind::Conflict, format!("lab `{taken}` already exists"))
            .hint(format!("nothing was changed; choose another name, or run `labctl --lab {taken} destroy` first")));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = clones.iter().find(|clone| !seen.insert(*clone)) {
        return Err(
            Failure::new(Kind::Input, format!("`{twice}` is named twice")).hint("nothing was changed; give each new lab a name of its own")
        );
    }
    let there = match name {
        Some(name) => Some(find(&origin_home, name)?),
        None if is_suspended(&origin_home) => Some(find(&origin_home, SUSPENDED)?),
        None => None,
    };
    let lab = match &there {
        Some(snapshot) => Some(snapshot.record.lab.clone()),
        None => Record::load(&origin_home)?.map(|record| record.lab),
    };
    if let Some(lab) = lab {
        subnet::check(home, &lab, clones, subnet)?;
    }
    let snapshot = match there {
        Some(snapshot) => snapshot,
        None => take(&Supervisor::ensure(&origin_home, origin, each).await?, CLONED, false, each)
            .await
            .map_err(|why| why.hint(format!("run `labctl --lab {origin} up` first, or name a snapshot: --snapshot NAME")))?,
    };
    let folder = place(&origin_home, &snapshot.name)?;
    // Before anything of the clones exists.
    snapshot.check(&folder)?;
    rewind::check_memory(home, &snapshot).await?;
    for clone in clones {
        make(home, origin, clone, &folder, &snapshot, subnet, each).await?;
    }
    if snapshot.name == CLONED {
        discard(&folder)?;
        sweep(home)?;
    }
    Ok(())
}

/// Whether creating `clone` from `origin` was interrupted.
fn is_begun(home: &Home, origin: &LabName, clone: &LabName) -> bool {
    rewind::is_begun(&home.lab(clone), &folder(&home.lab(origin)))
}

async fn make(
    home: &Home,
    origin: &LabName,
    clone: &LabName,
    folder: &Path,
    snapshot: &Snapshot,
    subnet: Subnet,
    each: Each<'_>,
) -> Result<(), Failure> {
    let clone_home = home.lab(clone);
    let _work = Work::begin(&clone_home, each).await?;
    let begun = Record::load(&clone_home)?;
    if begun.is_some() && !is_begun(home, origin, clone) {
        return Err(Failure::new(Kind::Conflict, format!("lab `{clone}` already exists")));
    }
    let record = {
        // Two labs may be created at once; each must see what the other has taken.
        let _turn = turn(home).await?;
        if let Some(subnet) = subnet.of(clone) {
            subnet::check_one(home, &snapshot.record.lab, clone, subnet)?;
        }
        let record = snapshot.record.cloned(home, clone, subnet.of(clone))?;
        rewind::begin(&clone_home, folder)?;
        record.save(&clone_home)?;
        record
    };
    if begun.is_some_and(|begun| !begun.lab.network.is_same_wire(&record.lab.network)) {
        leave(&clone_home, clone, each).await?;
    }
    rewind::go_back(home, clone, folder, snapshot, None, rewind::Memory::GoOn, each).await.map(drop)
}

/// Stops whatever runs of a clone that was started with a different network: its supervisor's switch is on that network.
async fn leave(home: &LabHome, clone: &LabName, each: Each<'_>) -> Result<(), Failure> {
    let supervisor = Supervisor::ensure(home, clone, each).await?;
    supervisor.run(&Call::Halt { nodes: Vec::new(), force: true }, each).await?;
    supervisor.leave().await
}
