//! Labs as they were when they had just been provisioned, kept beyond `destroy`: the next `up` from the same inputs restores them.
//!
//! Reuse must never be wrong, so the key covers every input that can be read: the lab file and everything in its folder, all roles,
//! files to copy, files that plays name elsewhere on the controller, images, QEMU, labctl and its agent. Where plays read what a key
//! cannot cover (the environment, a pipe, a URL), where they do something on the controller that a restored lab would lack, or where
//! there is too much to read, nothing is kept.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use labctl_guest::AGENT_SHA256;
use labctl_spec::lab::{Lab, Provision};
use sha2::{Digest, Sha256};

use super::{Snapshot, discard, layers::sweep, marker, place, rewind};
use crate::client::Supervisor;
use crate::event::Event;
use crate::home::Home;
use crate::lifecycle::Each;
use crate::record::Record;
use crate::template::Shape;
use crate::{Failure, Kind, images, lifecycle, shipped};

/// Name of the snapshot in the lab, until it moves to the store.
const NAME: &str = "+provisioned";

/// Most files and bytes that are read for a key. Beyond that, the lab file lies in a folder with other purposes.
const MOST_FILES: usize = 5_000;
const MOST_BYTES: u64 = 256 << 20;

/// Folders that are no inputs.
const NO_INPUTS: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];

/// Lookups whose result is not in any file.
const UNKNOWABLE: [&str; 8] = ["'env'", "\"env\"", "'pipe'", "\"pipe\"", "'url'", "\"url\"", "'password'", "\"password\""];

/// What acts on the controller or outside of the lab: a lab that is restored would not do it again.
const OUTSIDE: [&str; 7] =
    ["local_action:", "delegate_to: localhost", "delegate_to: 127.0.0.1", "connection: local", "hosts: localhost", "fetch:", "mode: pull"];

/// Words of lines that may name files of the controller by their paths.
const READERS: [&str; 8] = ["src", "include_vars", "vars_files", "lookup(", "query(", "with_", "first_found", "directory"];

/// How many provisioned states of one lab are kept.
const KEPT: usize = 2;

/// The key of a lab's inputs; the reason, if there can be none.
pub async fn key(home: &Home, lab: &Lab, each: Each<'_>) -> Result<Result<String, String>, Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let accel = labctl_machine::accel::find(&home.accel(), &qemu, home.scratch()).await?.accel;
    let images = images::prepare(home, lab, each).await?;
    let mut inputs = Inputs { own: vec![home.data().to_owned(), home.scratch().to_owned()], ..Inputs::default() };
    inputs.add(env!("CARGO_PKG_VERSION").as_bytes());
    inputs.add(AGENT_SHA256.as_bytes());
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
        if let Err(why) = inputs.tree(&tree).and_then(|()| inputs.elsewhere(&beside)) {
            return Ok(Err(why));
        }
    }
    if let Some(artifacts) = labctl_image::artifact::offline() {
        inputs.list(&artifacts);
    }
    Ok(Ok(hex::encode(inputs.hash.finalize())[..32].to_owned()))
}

#[derive(Default)]
struct Inputs {
    hash: Sha256,
    files: usize,
    bytes: u64,
    /// labctl's own folders, which are no inputs wherever they lie.
    own: Vec<PathBuf>,
    /// Paths that plays name, with the folder of the file that names them.
    named: BTreeSet<(PathBuf, String)>,
    /// Folders and files that were read.
    seen: BTreeSet<PathBuf>,
}

impl Inputs {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// Files that plays name by paths that lead out of the folders that were read. A path of the guest that the controller happens to
    /// have too is an input too many, which is safe.
    fn elsewhere(&mut self, beside: &Path) -> Result<(), String> {
        for (folder, path) in std::mem::take(&mut self.named) {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            let places = match path.strip_prefix("~/") {
                Some(rest) => vec![home.join(rest)],
                None => vec![folder.join(&path), folder.join("..").join(&path), beside.join(&path)],
            };
            for place in places.iter().filter_map(|place| fs::canonicalize(place).ok()) {
                if !place.ancestors().any(|above| self.seen.contains(above)) {
                    self.tree(&place)?;
                }
            }
        }
        Ok(())
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

    /// Everything below `path`: names, modes, contents.
    fn tree(&mut self, path: &Path) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt;
        self.seen.extend(fs::canonicalize(path));
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
                if NO_INPUTS.iter().all(|name| entry.file_name() != *name) && !self.own.contains(&entry.path()) {
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
        if let Some(text) = play(path, &content) {
            if let Some(word) = unknowable(&text) {
                return Err(format!("{} has {word}, which no key can cover", path.display()));
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            self.named.extend(named(&text).map(|named| (folder.to_owned(), named.to_owned())));
        }
        self.add(&content);
        Ok(())
    }
}

/// The text of a file that may hold plays or templates.
fn play<'a>(path: &Path, content: &'a [u8]) -> Option<Cow<'a, str>> {
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    matches!(kind, "yml" | "yaml" | "j2" | "tpl").then(|| String::from_utf8_lossy(content))
}

/// A word whose result is not in any file, or that acts outside of the lab.
fn unknowable(text: &str) -> Option<&'static str> {
    let looks_up = text.contains("lookup(") || text.contains("query(") || text.contains("q(");
    let known = UNKNOWABLE.iter().find(|word| looks_up && text.contains(**word));
    known.or_else(|| OUTSIDE.iter().find(|word| text.contains(**word))).copied()
}

/// Paths that lead out of a play's folder, in lines that may read files of the controller. A list below such a word is one of them.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let mut in_list = false;
    let lines = text.lines().filter(move |line| {
        let reads = READERS.iter().any(|word| line.contains(word));
        in_list = reads || (in_list && line.trim_start().starts_with("- "));
        in_list
    });
    let words = lines.flat_map(|line| line.split(|letter: char| letter.is_whitespace() || "'\"=,(){}[]".contains(letter)));
    words.filter(|word| word.len() > 1 && (word.starts_with('/') || word.starts_with("~/") || word.contains("../")))
}

/// Restores what is kept for the key, if anything is. The lab must not exist.
pub async fn restore(home: &Home, lab: &Lab, key: &str, each: Each<'_>) -> Result<Option<(Supervisor, Snapshot)>, Failure> {
    let folder = home.provisioned().join(key);
    let Ok(Some(snapshot)) = Snapshot::load(&folder) else { return Ok(None) };
    if snapshot.may_be_wrong() || snapshot.check(&folder).is_err() {
        // As good as none, and no reason to fail.
        discard(&folder)?;
        return Ok(None);
    }
    lifecycle::settle_record(home, lab.clone()).await?;
    match rewind::go_back(home, &lab.name, &folder, &snapshot, rewind::Memory::GoOn, each).await {
        Ok(supervisor) => Ok(Some((supervisor, snapshot))),
        Err(why) if marker::failed(&home.lab(&lab.name)).is_some() => {
            // What is kept is a short cut, and this one leads nowhere: the nodes are made as if it were not there.
            discard(&folder)?;
            marker::give_up(&home.lab(&lab.name))?;
            each(Event::Warning { text: format!("{}\nit is thrown away, and the lab is provisioned anew", why.message) });
            Ok(None)
        }
        Err(why) => Err(why),
    }
}

/// Keeps the lab as it is now, for the next `up` with the same inputs; not if they changed while it was being provisioned, for nobody
/// knows which of them were read before.
pub async fn keep(home: &Home, lab: &Lab, key: &str, supervisor: &Supervisor, each: Each<'_>) -> Result<(), Failure> {
    if self::key(home, lab, each).await?.as_deref() != Ok(key) {
        return Err(Failure::new(Kind::Conflict, "a file of the lab changed while it was being provisioned"));
    }
    super::take(supervisor, NAME, false, each).await?;
    let from = place(&home.lab(&lab.name), NAME)?;
    let to = home.provisioned().join(key);
    fs::create_dir_all(home.provisioned()).map_err(Failure::io(home.provisioned().display()))?;
    discard(&to)?;
    fs::rename(&from, &to).map_err(Failure::io(to.display()))?;
    forget_oldest(home, lab)?;
    sweep(home)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(folder: &Path) -> Result<String, String> {
        let mut inputs = Inputs::default();
        inputs.tree(folder)?;
        inputs.elsewhere(folder)?;
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
        fs::write(&file, "- fetch: {src: /etc/hostname, dest: x}").unwrap();
        assert!(key_of(folder).unwrap_err().contains("fetch"));
    }

    #[test]
    fn files_elsewhere_on_the_controller_are_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "one").unwrap();
        let lab = folder.path().join("lab");
        fs::create_dir_all(&lab).unwrap();
        for play in [
            format!("- copy: {{src: {}, dest: /x}}", outside.display()),
            "- copy:\n    src: '../outside'\n".to_owned(),
            "vars_files:\n  - ../outside\n".to_owned(),
            format!("x: \"{{{{ lookup('file', '{}') }}}}\"", outside.display()),
        ] {
            fs::write(lab.join("play.yml"), &play).unwrap();
            fs::write(&outside, "one").unwrap();
            let one = key_of(&lab).unwrap();
            assert_eq!(one, key_of(&lab).unwrap());
            fs::write(&outside, "two").unwrap();
            assert_ne!(one, key_of(&lab).unwrap(), "{play}");
        }
    }
}
