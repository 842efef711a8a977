//! The templates in the store.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Shape;
use crate::home::Home;
use crate::{Failure, Kind, persist};

/// Name of the file with a baked layer's notes in its template's folder; like its disk, it may contain secrets from tasks.
pub const LAYER_NOTES: &str = "layer.json";

/// A template in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Hash of everything that it was made from.
    pub key: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Template {
    /// Its memory.
    pub fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// Its devices.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What a fork's disk starts as.
    pub fn overlay(&self) -> PathBuf {
        self.folder.join("overlay.qcow2")
    }

    /// What it was made from.
    pub fn shape(&self) -> Result<Shape, Failure> {
        let file = self.folder.join("template.json");
        persist::read_json(&file)?.ok_or_else(|| Failure::new(Kind::Internal, format!("{} is missing", file.display())))
    }

    /// Key of the template that this one's disk is based on; none unless it is a baked layer.
    fn stock(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Notes {
            stock: String,
        }
        let notes: Option<Notes> = persist::read_json(&self.folder.join(LAYER_NOTES)).ok()?;
        Some(notes?.stock)
    }

    /// Bytes that it uses on disk.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.blocks() * 512).sum()
    }

    /// When a node was last forked from it.
    pub fn used(&self) -> SystemTime {
        fs::metadata(self.folder.join("used")).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Records that nodes of this home are being forked from it.
    pub fn touch(&self, home: &Home) {
        // A read-only store is still usable: nothing can be removed from it either.
        let _ = File::create(self.folder.join("used"));
        let homes = self.folder.join("homes");
        let name = hex::encode(Sha256::digest(home.data().as_os_str().as_encoded_bytes()));
        let _ = fs::create_dir_all(&homes).and_then(|()| std::os::unix::fs::symlink(home.data(), homes.join(&name[..16])));
    }

    /// What uses it, in any home that shares the store: a lab's node or a snapshot with a matching `template` file in its folder.
    fn user(&self) -> Option<String> {
        let homes = fs::read_dir(self.folder.join("homes")).into_iter().flatten().flatten();
        homes.filter_map(|home| fs::read_link(home.path()).ok()).find_map(|home| self.user_in(&home))
    }

    fn user_in(&self, home: &Path) -> Option<String> {
        for lab in fs::read_dir(home.join("labs")).into_iter().flatten().flatten() {
            let folder = lab.path();
            if mentions(&folder.join("nodes"), &self.key) || mentions_below(&folder.join("snapshots"), &self.key) {
                return Some(format!("lab `{}`", lab.file_name().to_string_lossy()));
            }
        }
        mentions_below(&home.join("provisioned"), &self.key).then(|| "a saved provisioned lab".to_owned())
    }
}

/// How long a template that was chosen for a fork is protected from removal; the fork records its use within seconds.
const FRESH: Duration = Duration::from_secs(600);

/// Name prefix of a folder in which a template is being made.
pub const BUILDING: &str = ".building-";

/// Name prefix of a folder that is being removed.
pub const REMOVED: &str = ".removed-";

/// The folder of all templates.
#[derive(Debug, Clone)]
pub struct Templates {
    root: PathBuf,
}

impl Templates {
    /// The templates of this home.
    pub fn of(home: &Home) -> Self {
        Self { root: home.store().join("templates") }
    }

    /// Where the template with that key is built, before it is moved to its place.
    pub fn building(&self, key: &str) -> PathBuf {
        self.root.join(format!("{BUILDING}{key}"))
    }

    /// The folder of all templates.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The place of the template with that key.
    pub fn place(&self, key: &str) -> Template {
        Template { key: key.to_owned(), folder: self.root.join(key) }
    }

    /// The template with that key, if it exists.
    pub fn find(&self, key: &str) -> Option<Template> {
        let template = self.place(key);
        template.folder.join("template.json").exists().then_some(template)
    }

    /// All templates, most recently used first.
    pub fn all(&self) -> Vec<Template> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        // Skips those being built or removed.
        let mut all: Vec<Template> = names.filter(|name| !name.starts_with('.')).filter_map(|name| self.find(&name)).collect();
        all.sort_by_key(|template| std::cmp::Reverse(template.used()));
        all
    }

    /// Held while the template with that key is being built; waits for another process that is building it.
    pub async fn turn(&self, key: &str) -> Result<File, Failure> {
        let path = self.lock(key);
        let file = self.open_lock(key).map_err(Failure::io(path.display()))?;
        let wait = move || file.lock().map(|()| file);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
        waited.map_err(Failure::io(path.display()))
    }

    /// The same, if nothing holds it now.
    pub fn try_turn(&self, key: &str) -> Option<File> {
        let file = self.open_lock(key).ok()?;
        file.try_lock().is_ok().then_some(file)
    }

    fn lock(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(key)
    }

    fn open_lock(&self, key: &str) -> std::io::Result<File> {
        fs::create_dir_all(self.root.join("locks"))?;
        OpenOptions::new().create(true).truncate(false).write(true).open(self.lock(key))
    }

    /// Removes a template, unless a lab's disks are based on it.
    pub fn remove(&self, template: &Template) -> Result<(), Failure> {
        let above = self.all().into_iter().find(|other| other.stock().is_some_and(|stock| stock == template.key));
        let layer = above.map(|layer| format!("layer {}", &layer.key[..12]));
        if let Some(user) = template.user().or(layer) {
            let message = format!("the disks of {user} are based on template {}", &template.key[..12]);
            return Err(Failure::new(Kind::Conflict, message).hint("first destroy the lab, or remove its snapshots or the layer"));
        }
        // Rename first, so that it is never seen half removed. The leftovers of a killed removal would be in the way.
        let doomed = self.root.join(format!("{REMOVED}{}", template.key));
        let _ = fs::remove_dir_all(&doomed);
        fs::rename(&template.folder, &doomed).map_err(Failure::io(template.folder.display()))?;
        match fs::remove_dir_all(&doomed) {
            // A concurrent sweep was faster.
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(doomed.display())(why)),
            _ => Ok(()),
        }
    }

    /// Removes the least recently used templates until all together use at most `limit` bytes. Templates in use, or just chosen for use,
    /// stay. Returns the removed ones.
    pub fn shrink(&self, limit: u64) -> Vec<Template> {
        let mut total = 0;
        let over = self.all().into_iter().filter(|template| {
            total += template.size();
            total > limit && template.used().elapsed().is_ok_and(|since| since > FRESH)
        });
        over.collect::<Vec<_>>().into_iter().filter(|template| self.remove(template).is_ok()).collect()
    }
}

fn mentions(folder: &Path, key: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("template")).any(|file| fs::read_to_string(file).is_ok_and(|text| text.trim() == key))
}

fn mentions_below(folder: &Path, key: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|folder| mentions(&folder, key))
}
