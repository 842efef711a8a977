//! Labs as they were when they had just been provisioned, kept beyond `destroy`: the next `up` from the same inputs restores them.
//!
//! Reuse must never be wrong, so the key covers every input that can be read: the lab file and everything in its folder, all roles,
//! files to copy, images, QEMU, labctl and its agent. Where plays read what a key cannot cover (the environment, a pipe, a URL), or
//! where there is too much to read, nothing is kept.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use labctl_guest::AGENT_PROGRAM;
use labctl_spec::lab::{Lab, Provision};
use sha2::{Digest, Sha256};

use super::{Snapshot, discard, layers::sweep, place, rewind};
use crate::client::Supervisor;
use crate::home::Home;
use crate::lifecycle::Each;
use crate::record::Record;
use crate::template::Shape;
use crate::{Failure, images, lifecycle, shipped};

/// Name of the snapshot in the lab, until it moves to the store.
const NAME: &str = "+provisioned";

/// Most files and bytes that are read for a key. Beyond that, the lab file lies in a folder with other purposes.
const MOST_FILES: usize = 5_000;
const MOST_BYTES: u64 = 256 << 20;

/// Folders that are no inputs.
const NO_INPUTS: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];

/// Words of plays and templates whose result is not in any file.
const UNKNOWABLE: [&str; 8] = ["'env'", "\"env\"", "'pipe'", "\"pipe\"", "'url'", "\"url\"", "'password'", "\"password\""];

/// How many provisioned states of one lab are kept.
const KEPT: usize = 2;

fn folder(home: &Home) -> PathBuf {
    home.store().join("provisioned")
}

/// The key of a lab's inputs; the reason, if there can be none.
pub async fn key(home: &Home, lab: &Lab, each: Each<'_>) -> Result<Result<String, String>, Failure> {
    let accel = labctl_machine::accel::find(&home.accel(), home.scratch()).await?.accel;
    let qemu = labctl_machine::qemu::version().await?;
    let images = images::prepare(home, lab, each).await?;
    let mut inputs = Inputs { hash: Sha256::new(), files: 0, bytes: 0 };
    inputs.add(env!("CARGO_PKG_VERSION").as_bytes());
    inputs.add(AGENT_PROGRAM);
    inputs.add(format!("{lab:?}").as_bytes());
    for node in &lab.nodes {
        let Some(shape) = images.get(&node.image).and_then(|image| Shape::of(node, image, accel, &qemu)) else {
            return Ok(Err(format!("image `{}` has a boot loader of its own", node.image)));
        };
        inputs.add(shape.key().as_bytes());
    }
    let beside = lab.file.parent().unwrap_or(Path::new(".")).to_owned();
    let mut trees = vec![beside.clone(), beside.join("../roles"), shipped::folder(home)?];
    trees.extend(lab.nodes.iter().flat_map(|node| node.sync.iter().map(|sync| sync.from.clone())));
    trees.extend(lab.provision.iter().filter_map(|step| match step {
        Provision::Playbook(file) => file.parent().map(Path::to_owned),
        Provision::InLabFile { .. } => None,
    }));
    for tree in trees {
        if let Err(why) = inputs.tree(&tree) {
            return Ok(Err(why));
        }
    }
    Ok(Ok(hex::encode(inputs.hash.finalize())[..32].to_owned()))
}

struct Inputs {
    hash: Sha256,
    files: usize,
    bytes: u64,
}

impl Inputs {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// Everything below `path`: names, modes, contents.
    fn tree(&mut self, path: &Path) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt;
        let Ok(about) = fs::metadata(path) else {
            self.add(b"absent");
            return Ok(());
        };
        self.add(path.file_name().unwrap_or_default().as_encoded_bytes());
        self.add(&about.permissions().mode().to_le_bytes());
        let unreadable = |why: std::io::Error| format!("{}: {why}", path.display());
        if about.is_dir() {
            let mut entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                if NO_INPUTS.iter().all(|name| entry.file_name() != *name) {
                    self.tree(&entry.path())?;
                }
            }
            return Ok(());
        }
        if !about.is_file() {
            return Ok(());
        }
        self.files += 1;
        self.bytes += about.len();
        if self.files > MOST_FILES || self.bytes > MOST_BYTES {
            return Err(format!("there are more than {MOST_FILES} files or {} MiB beside the lab file", MOST_BYTES >> 20));
        }
        let mut content = Vec::new();
        fs::File::open(path).and_then(|mut file| file.read_to_end(&mut content)).map_err(unreadable)?;
        if let Some(word) = unknowable(path, &content) {
            return Err(format!("{} reads {word}, which no key can cover", path.display()));
        }
        self.add(&content);
        Ok(())
    }
}

/// A word of a play or template whose result is not in any file.
fn unknowable(path: &Path, content: &[u8]) -> Option<&'static str> {
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    if !matches!(kind, "yml" | "yaml" | "j2" | "tpl") {
        return None;
    }
    let text = String::from_utf8_lossy(content);
    let looks_up = text.contains("lookup(") || text.contains("query(") || text.contains("q(");
    UNKNOWABLE.iter().find(|word| looks_up && text.contains(**word)).copied()
}

/// Restores what is kept for the key, if anything is. The lab must not exist.
pub async fn restore(home: &Home, lab: &Lab, key: &str, each: Each<'_>) -> Result<Option<(Supervisor, Snapshot)>, Failure> {
    let folder = folder(home).join(key);
    let Ok(Some(snapshot)) = Snapshot::load(&folder) else { return Ok(None) };
    if snapshot.check(&folder).is_err() {
        // Damaged: as good as none, and no reason to fail.
        discard(&folder)?;
        return Ok(None);
    }
    lifecycle::settle_record(home, lab.clone()).await?;
    let supervisor = rewind::go_back(home, &lab.name, &folder, &snapshot, rewind::Memory::GoOn, each).await?;
    Ok(Some((supervisor, snapshot)))
}

/// Keeps the lab as it is now, for the next `up` with the same inputs.
pub async fn keep(home: &Home, lab: &Lab, key: &str, supervisor: &Supervisor, each: Each<'_>) -> Result<(), Failure> {
    super::take(supervisor, NAME, each).await?;
    let from = place(&home.lab(&lab.name), NAME)?;
    let to = folder(home).join(key);
    fs::create_dir_all(folder(home)).map_err(Failure::io(folder(home).display()))?;
    discard(&to)?;
    fs::rename(&from, &to).map_err(Failure::io(to.display()))?;
    forget_oldest(home, lab)?;
    sweep(home)
}

fn forget_oldest(home: &Home, lab: &Lab) -> Result<(), Failure> {
    let entries = fs::read_dir(folder(home)).into_iter().flatten().flatten();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(folder: &Path) -> Result<String, String> {
        let mut inputs = Inputs { hash: Sha256::new(), files: 0, bytes: 0 };
        inputs.tree(folder)?;
        Ok(hex::encode(inputs.hash.finalize()))
    }

    #[test]
    fn every_change_of_an_input_changes_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir_all(folder.join("roles/r/tasks")).unwrap();
        let file = folder.join("roles/r/tasks/main.yml");
        fs::write(&file, "- debug:\n").unwrap();
        let mut keys = vec![key_of(folder).unwrap()];
        let mut changed = |what: &str| {
            let key = key_of(folder).unwrap();
            assert!(!keys.contains(&key), "{what}");
            keys.push(key);
        };
        fs::write(&file, "- debug: \n").unwrap();
        changed("content");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        changed("mode");
        fs::rename(&file, folder.join("roles/r/tasks/other.yml")).unwrap();
        changed("name");
        fs::write(folder.join("roles/r/new"), "").unwrap();
        changed("a new file");
        fs::create_dir(folder.join("target")).unwrap();
        fs::write(folder.join("target/x"), "").unwrap();
        assert!(keys.contains(&key_of(folder).unwrap()), "target is no input");
        fs::write(&file, "x: \"{{ lookup('env', 'HOME') }}\"").unwrap();
        assert!(key_of(folder).unwrap_err().contains("'env'"));
    }
}
