//! Freshly provisioned labs, kept beyond `destroy`: the next `up` from the same inputs restores them.
//!
//! Reuse must never be wrong. The key covers what is known before anything runs: lab file, files to copy, images, QEMU, labctl and its
//! agent. What plays read is known once they have run: the engine records each file, each place where it looked for one, each environment
//! variable, and what it got. That list is kept beside the lab, which is restored only if all of it would still be the same. If plays
//! depend on what no list can cover (a program's output, randomness, the time), or do something on the controller that a restored lab would
//! lack, nothing is kept.

use std::fs;
use std::path::{Path, PathBuf};

use labctl_guest::AGENT_SHA256;
use labctl_image::Store;
use labctl_lab::client::Supervisor;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::{Home, make_closed};
use labctl_lab::record::Record;
use labctl_lab::snapshot::{Snapshot, discard, failed_restore, give_up_restore, place, sweep};
use labctl_lab::{Failure, Kind, persist};
use labctl_provision::Manifest;
use labctl_spec::lab::Lab;
use labctl_spec::load_artifacts;
use sha2::{Digest, Sha256};

use super::rewind;
use crate::basis::Basis;
use crate::provisioning::Inputs;
use crate::{images, lifecycle, sync};

/// Name of the snapshot in the lab, until it is moved to the store.
const NAME: &str = "+provisioned";

/// What the plays read, beside the snapshot.
const INPUTS: &str = "inputs.json";

/// How many provisioned states of one lab are kept.
const KEPT: usize = 2;

/// The key of a lab's inputs that are known before its plays run; the reason, if there can be none.
pub fn key(lab: &Lab, basis: &Basis) -> Result<String, String> {
    let mut key = Key::default();
    key.add(env!("CARGO_PKG_VERSION").as_bytes());
    key.add(AGENT_SHA256.as_bytes());
    key.add(format!("{lab:?}").as_bytes());
    for node in &lab.nodes {
        let shape = basis.shape(node).ok_or_else(|| format!("image `{}` has a boot loader of its own", node.image))?;
        key.add(shape.key().as_bytes());
    }
    key.add(sync::digest(lab).map_err(|why| why.to_string())?.as_bytes());
    if let Some(artifacts) = labctl_image::artifact::offline() {
        key.list(&artifacts);
    }
    Ok(hex::encode(key.0.finalize())[..32].to_owned())
}

#[derive(Default)]
struct Key(Sha256);

impl Key {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Names, sizes and times of files that are too large to be read for this.
    fn list(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        let mut entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(about) = fs::metadata(entry.path()) else { continue };
            self.add(entry.path().as_os_str().as_encoded_bytes());
            self.add(format!("{} {} {} {}", about.len(), about.mtime(), about.mtime_nsec(), about.ino()).as_bytes());
            if about.is_dir() {
                self.list(&entry.path());
            }
        }
    }
}

/// The program that a role's artifact refers to, if the store has it: a stored program is delivered without asking any server.
fn program(store: &Store, role: &Path, name: &str, version: Option<&str>) -> Option<String> {
    let declared = load_artifacts(&role.join("artifacts.yml")).ok()?;
    let artifact = declared.into_iter().find(|artifact| artifact.name == name)?;
    let artifact = match version {
        Some(version) => artifact.in_version(version).ok()?,
        None => artifact,
    };
    Some(store.find_artifact(&artifact, role)?.sha256)
}

/// What is kept under a key, newest first.
fn kept(home: &Home, key: &str) -> Vec<(PathBuf, Snapshot, Manifest)> {
    let entries = fs::read_dir(home.provisioned()).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().split_once('-').is_some_and(|(own, _)| own == key));
    let mut kept: Vec<_> = ours
        .filter_map(|entry| {
            let folder = entry.path();
            let snapshot = Snapshot::load(&folder).ok()??;
            let manifest = persist::read_json(&folder.join(INPUTS)).ok()??;
            Some((folder, snapshot, manifest))
        })
        .collect();
    kept.sort_by_key(|(_, snapshot, _)| std::cmp::Reverse(snapshot.created));
    kept
}

/// Restores what is kept for the key, if its plays would read the same today as they did then. The lab must not exist.
pub async fn restore(home: &Home, lab: &Lab, key: &str, each: Each<'_>) -> Result<Option<(Supervisor, Snapshot)>, Failure> {
    let store = images::store(home)?;
    let lab_home = home.lab(&lab.name);
    let mut changed = None;
    for (folder, snapshot, manifest) in kept(home, key) {
        if let Some(what) = manifest.change(&|role, name, version| program(&store, role, name, version)) {
            changed.get_or_insert(what);
            continue;
        }
        if snapshot.may_be_wrong() || snapshot.check(&folder).is_err() {
            // As good as missing, and no reason to fail.
            discard(&folder)?;
            continue;
        }
        lifecycle::settle_record(home, lab.clone()).await?;
        match rewind::go_back(home, &lab.name, &folder, &snapshot, None, rewind::Memory::GoOn, each).await {
            Ok(supervisor) => return Ok(Some((supervisor, snapshot))),
            Err(why) if failed_restore(&lab_home).is_some() => {
                // The kept lab is only a shortcut, and this one does not work: create the nodes as if it did not exist.
                discard(&folder)?;
                give_up_restore(&lab_home)?;
                each(Event::Warning { text: format!("{}\nthe saved lab is discarded", why.message) });
            }
            Err(why) => return Err(why),
        }
    }
    if let Some(what) = changed {
        each(Event::Note { text: format!("not restored as it was provisioned, because this has changed: {what}") });
    }
    Ok(None)
}

/// Keeps the lab in its current state, after plays that have read `inputs`, for the next `up` with the same inputs; returns the reason if
/// its plays rule that out.
pub async fn keep(
    home: &Home,
    lab: &Lab,
    key: &str,
    inputs: &Inputs,
    supervisor: &Supervisor,
    each: Each<'_>,
) -> Result<Result<(), String>, Failure> {
    let manifest = match inputs.manifest() {
        Ok(manifest) => manifest,
        Err(why) => return Ok(Err(why)),
    };
    // It is unknown which of the two versions was read.
    if self::key(lab, &Basis::find(home, lab, each).await?).as_deref() != Ok(key) {
        return Err(Failure::new(Kind::Conflict, "an image or a synced file changed while the lab was being provisioned"));
    }
    super::take(supervisor, NAME, false, each).await?;
    let from = place(&home.lab(&lab.name), NAME)?;
    persist::write_json(&from.join(INPUTS), &manifest)?;
    let to = home.provisioned().join(format!("{key}-{}", manifest.digest()));
    make_closed(&home.provisioned())?;
    discard(&to)?;
    fs::rename(&from, &to).map_err(Failure::io(to.display()))?;
    forget_oldest(home, lab)?;
    sweep(home)?;
    Ok(Ok(()))
}

fn forget_oldest(home: &Home, lab: &Lab) -> Result<(), Failure> {
    let entries = fs::read_dir(home.provisioned()).into_iter().flatten().flatten();
    let mut kept: Vec<(Snapshot, PathBuf)> = entries
        .filter_map(|entry| Some((Snapshot::load(&entry.path()).ok()??, entry.path())))
        .filter(|(snapshot, _)| snapshot.record.lab.name == lab.name)
        .collect();
    kept.sort_by_key(|(snapshot, _)| std::cmp::Reverse(snapshot.created));
    kept.into_iter().skip(KEPT).try_for_each(|(_, folder)| discard(&folder))
}

/// Whether the lab was never brought up, or was destroyed.
pub fn is_absent(home: &Home, lab: &Lab) -> Result<bool, Failure> {
    Ok(Record::load(&home.lab(&lab.name))?.is_none())
}
