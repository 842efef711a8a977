//! The host's side of a copy.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_lab::{Failure, Kind};
use labctl_spec::lab::{Lab, Sync};
use labctl_tree::{Manifest, Rules, walk};
use labctl_wire::tree::What;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use super::rules_file;

/// A folder or file of the host, with what is in it.
#[derive(Debug, Clone)]
pub struct Tree {
    /// What is left out.
    pub rules: Rules,
    /// What is there.
    pub manifest: Arc<Manifest>,
}

impl Tree {
    /// Looks at all of it; what is wrong with its rules is among the manifest's faults.
    fn look(sync: &Sync) -> Self {
        let (rules, wrong) = match rules(sync) {
            Ok(rules) => (rules, None),
            Err(why) => (Rules::default(), Some(why)),
        };
        let mut manifest = walk::all(&sync.from, &rules, sync.mode);
        manifest.faults.extend(wrong);
        Self { rules, manifest: Arc::new(manifest) }
    }

    /// Looks at some paths of a folder.
    pub fn part(sync: &Sync, rules: &Rules, paths: &BTreeSet<PathBuf>) -> Self {
        Self { rules: rules.clone(), manifest: Arc::new(walk::some(&sync.from, rules, sync.mode, paths)) }
    }

    /// The name that it gets if its place is a folder: only a file is put into a folder.
    pub fn name(&self) -> Option<ByteBuf> {
        let file = self.manifest.items.first().is_some_and(|root| matches!(root.what, What::File { .. }));
        self.manifest.root.file_name().filter(|_| file).map(|name| ByteBuf::from(name.as_bytes()))
    }
}

/// The rules of a copy: those in the folder, then those of the lab file, so that these win.
pub fn rules(sync: &Sync) -> Result<Rules, String> {
    let file = rules_file(sync);
    let mut lines = match fs::read_to_string(&file) {
        // Some editors begin a file with a byte order mark, which is no part of the first rule.
        Ok(text) => text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect(),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        Err(why) => return Err(format!("{}: {why}", file.display())),
    };
    lines.extend(sync.exclude.iter().cloned());
    Rules::new(lines).map_err(|why| format!("{}:{}: {why}", file.display(), why.at + 1))
}

/// The trees of several copies: what several nodes get is looked at once.
#[derive(Default)]
pub struct Trees(Vec<(Sync, Tree)>);

impl Trees {
    /// The tree of a copy.
    pub fn look(&mut self, sync: &Sync) -> Tree {
        let same = |other: &Sync| (&other.from, &other.exclude, other.mode) == (&sync.from, &sync.exclude, sync.mode);
        if let Some((_, tree)) = self.0.iter().find(|(other, _)| same(other)) {
            return tree.clone();
        }
        let tree = Tree::look(sync);
        self.0.push((sync.clone(), tree.clone()));
        tree
    }

    /// All faults of all of them, as one failure; else a line for each that has special files.
    pub fn judge(&self) -> Result<Vec<String>, Failure> {
        let faults: Vec<String> = self.0.iter().flat_map(|(_, tree)| tree.manifest.faults.clone()).collect();
        if !faults.is_empty() {
            let failure = Failure::new(Kind::Host, faults.join("\n"));
            return Err(failure.hint("nothing was copied; correct this, or leave it out with `exclude:` in the lab file"));
        }
        let special = self.0.iter().filter(|(_, tree)| !tree.manifest.skipped.is_empty());
        Ok(special.map(|(sync, tree)| skipped(&sync.from, &tree.manifest.skipped)).collect())
    }
}

/// How many special files a line names.
const NAMED: usize = 5;

/// The line that says what is not copied.
pub fn skipped(root: &Path, names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}: not copied: {}{more}", root.display(), names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
}

/// Digest of all that is copied, but for its times: places, names, kinds, modes, content; 64 hex digits.
pub fn digest(lab: &Lab) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let mut trees = Trees::default();
    for node in &lab.nodes {
        for sync in &node.sync {
            let tree = trees.look(sync);
            trees.judge()?;
            add(node.name.as_str().as_bytes());
            add(sync.to.as_os_str().as_bytes());
            for item in &tree.manifest.items {
                add(&item.path);
                add(&item.mode.to_le_bytes());
                match &item.what {
                    What::Folder => add(b"folder"),
                    What::Link { target } => add(target),
                    What::File { .. } | What::Stream => {
                        let path = Path::new(std::ffi::OsStr::from_bytes(&item.path));
                        let path = if item.path.is_empty() { sync.from.clone() } else { sync.from.join(path) };
                        add(&fs::File::open(&path).and_then(labctl_tree::sha256).map_err(Failure::io(path.display()))?);
                    }
                }
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn all_that_is_copied_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("tree/in")).unwrap();
        fs::write(path("tree/in/leaf"), "one").unwrap();
        let lab = |to: &str| {
            let text = format!("name: a\nnodes: [{{name: n, sync: [{{from: tree, to: {to}}}]}}]\n");
            labctl_spec::parse_lab(&text, &path("lab.yml")).unwrap()
        };
        let mut seen = vec![digest(&lab("/srv")).unwrap()];
        fs::File::options().write(true).open(path("tree/in/leaf")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(digest(&lab("/srv")).unwrap(), seen[0], "times do not count");
        let mut differs = |what: &str, lab: &Lab| {
            let now = digest(lab).unwrap();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        differs("place", &lab("/opt"));
        fs::write(path("tree/in/leaf"), "two").unwrap();
        differs("content", &lab("/srv"));
        fs::set_permissions(path("tree/in/leaf"), fs::Permissions::from_mode(0o755)).unwrap();
        differs("mode", &lab("/srv"));
        fs::rename(path("tree/in/leaf"), path("tree/leaf")).unwrap();
        differs("name", &lab("/srv"));
        fs::write(path("tree/new"), "").unwrap();
        differs("a new file", &lab("/srv"));
        fs::create_dir(path("tree/empty")).unwrap();
        differs("an empty folder", &lab("/srv"));
        std::os::unix::fs::symlink("..", path("tree/up")).unwrap();
        differs("a link", &lab("/srv"));
        fs::write(path("tree/.labctlignore"), "new\n").unwrap();
        differs("a rule", &lab("/srv"));
        fs::write(path("tree/.labctlignore"), "fine\n[z-a]\n").unwrap();
        let why = digest(&lab("/srv")).unwrap_err().message;
        assert!(why.contains(".labctlignore:2: `[z-a]` is not a valid pattern"), "{why}");
        let gone = lab("/srv");
        fs::remove_dir_all(path("tree")).unwrap();
        assert!(digest(&gone).is_err());
    }

    #[test]
    fn rules_of_the_lab_file_win() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".labctlignore"), "\u{feff}*.log\r\n").unwrap();
        let text = "name: a\nnodes: [{name: n, sync: [{from: ., to: /srv, exclude: ['!keep.log']}]}]\n";
        let lab = labctl_spec::parse_lab(text, &folder.path().join("lab.yml")).unwrap();
        let rules = rules(&lab.nodes[0].sync[0]).unwrap();
        assert!(rules.exclude(Path::new("a.log"), false) && !rules.exclude(Path::new("keep.log"), false));
    }
}
