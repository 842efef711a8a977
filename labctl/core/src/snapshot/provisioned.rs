//! Labs as they were when they had just been provisioned, kept beyond `destroy`: the next `up` from the same inputs restores them.
//!
//! Reuse must never be wrong. What is known before anything runs is the key: lab file, files to copy, images, QEMU, labctl and its agent.
//! What plays read is known when they have run: the engine notes each file, each place where it looked for one, each variable of the
//! environment, and what it was told. That list is kept beside the lab, which is restored only if all of it would be told again. Where
//! plays ask for what no list can cover (a program's output, chance, the time), or do something on the controller that a restored lab
//! would lack, nothing is kept.

use std::fs;
use std::path::{Path, PathBuf};

use labctl_guest::AGENT_SHA256;
use labctl_image::Store;
use labctl_provision::Manifest;
use labctl_spec::lab::Lab;
use labctl_spec::load_artifacts;
use sha2::{Digest, Sha256};

use super::{Snapshot, discard, layers::sweep, marker, place, rewind};
use crate::client::Supervisor;
use crate::event::Event;
use crate::home::Home;
use crate::lifecycle::Each;
use crate::provisioning::Inputs;
use crate::record::Record;
use crate::template::Shape;
use crate::{Failure, Kind, images, lifecycle, persist, provisioning};

/// Name of the snapshot in the lab, until it moves to the store.
const NAME: &str = "+provisioned";

/// What the plays read, beside the snapshot.
const INPUTS: &str = "inputs.json";

/// How many provisioned states of one lab are kept.
const KEPT: usize = 2;

/// The key of what is known of a lab's inputs before its plays run; the reason, if there can be none.
pub async fn key(home: &Home, lab: &Lab, each: Each<'_>) -> Result<Result<String, String>, Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let accel = labctl_machine::accel::find(&home.accel(), &qemu, home.scratch()).await?.accel;
    let images = images::prepare(home, lab, each).await?;
    let mut key = Key::default();
    key.add(env!("CARGO_PKG_VERSION").as_bytes());
    key.add(AGENT_SHA256.as_bytes());
    key.add(format!("{lab:?}").as_bytes());
    for node in &lab.nodes {
        let Some(shape) = images.get(&node.image).and_then(|image| Shape::of(node, image, accel, &qemu)) else {
            return Ok(Err(format!("image `{}` has a boot loader of its own", node.image)));
        };
        key.add(shape.key().as_bytes());
    }
    match provisioning::synced(lab) {
        Ok(synced) => key.add(synced.as_bytes()),
        Err(why) => return Ok(Err(why.to_string())),
    }
    if let Some(artifacts) = labctl_image::artifact::offline() {
        key.list(&artifacts);
    }
    Ok(Ok(hex::encode(key.0.finalize())[..32].to_owned()))
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

/// The program that an artifact of a role stands for, if the store has it: what is there is delivered without asking anybody.
fn program(store: &Store, role: &Path, name: &str) -> Option<String> {
    let declared = load_artifacts(&role.join("artifacts.yml")).ok()?;
    let artifact = declared.into_iter().find(|artifact| artifact.name == name)?;
    Some(store.find_artifact(&artifact, role)?.sha256)
}

/// What is kept under a key, the newest first.
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

/// Restores what is kept for the key, if its plays would read today what they read then. The lab must not exist.
pub async fn restore(home: &Home, lab: &Lab, key: &str, each: Each<'_>) -> Result<Option<(Supervisor, Snapshot)>, Failure> {
    let store = images::store(home)?;
    let lab_home = home.lab(&lab.name);
    let mut changed = None;
    for (folder, snapshot, manifest) in kept(home, key) {
        if let Some(what) = manifest.change(&|role, name| program(&store, role, name)) {
            changed.get_or_insert(what);
            continue;
        }
        if snapshot.may_be_wrong() || snapshot.check(&folder).is_err() {
            // As good as none, and no reason to fail.
            discard(&folder)?;
            continue;
        }
        lifecycle::settle_record(home, lab.clone()).await?;
        match rewind::go_back(home, &lab.name, &folder, &snapshot, rewind::Memory::GoOn, each).await {
            Ok(supervisor) => return Ok(Some((supervisor, snapshot))),
            Err(why) if marker::failed(&lab_home).is_some() => {
                // What is kept is a short cut, and this one leads nowhere: the nodes are made as if it were not there.
                discard(&folder)?;
                marker::give_up(&lab_home)?;
                each(Event::Warning { text: format!("{}\nit is thrown away", why.message) });
            }
            Err(why) => return Err(why),
        }
    }
    if let Some(what) = changed {
        each(Event::Note { text: format!("not restored as it was provisioned, for this has changed: {what}") });
    }
    Ok(None)
}

/// Keeps the lab as it is now, after plays that have read `inputs`, for the next `up` with the same; says why not, if that is how its
/// plays are.
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
    // Nobody knows which of the two was there when it was read.
    if self::key(home, lab, each).await?.as_deref() != Ok(key) {
        return Err(Failure::new(Kind::Conflict, "an image or a synced file changed while the lab was being provisioned"));
    }
    super::take(supervisor, NAME, false, each).await?;
    let from = place(&home.lab(&lab.name), NAME)?;
    persist::write_json(&from.join(INPUTS), &manifest)?;
    let to = home.provisioned().join(format!("{key}-{}", manifest.digest()));
    fs::create_dir_all(home.provisioned()).map_err(Failure::io(home.provisioned().display()))?;
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
