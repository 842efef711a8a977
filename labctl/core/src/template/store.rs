//! The templates in the store.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use labctl_spec::size::Size;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Shape;
use crate::home::Home;
use crate::layer::Layer;
use crate::{Failure, Kind, persist};

/// A template that is there.
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

    /// What a fork's disk begins as.
    pub fn overlay(&self) -> PathBuf {
        self.folder.join("overlay.qcow2")
    }

    /// What it was made from.
    pub fn shape(&self) -> Result<Shape, Failure> {
        let file = self.folder.join("template.json");
        persist::read_json(&file)?.ok_or_else(|| Failure::new(Kind::Internal, format!("{} is missing", file.display())))
    }

    /// Bytes that it takes on the disk.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.blocks() * 512).sum()
    }

    /// When a node was last forked from it.
    pub fn used(&self) -> SystemTime {
        fs::metadata(self.folder.join("used")).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Notes that nodes of this home are being forked from it.
    pub fn touch(&self, home: &Home) {
        // A store that cannot be written to still serves: nobody can remove anything from it either.
        let _ = File::create(self.folder.join("used"));
        let homes = self.folder.join("homes");
        let name = hex::encode(Sha256::digest(home.data().as_os_str().as_encoded_bytes()));
        let _ = fs::create_dir_all(&homes).and_then(|()| std::os::unix::fs::symlink(home.data(), homes.join(&name[..16])));
    }

    /// Who uses it, in any home that shares the store: a lab's node or a snapshot, by the file `template` in its folder.
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
        mentions_below(&home.join("provisioned"), &self.key).then(|| "a provisioned lab that is kept".to_owned())
    }
}

/// Bytes that all templates together may take: `$LABCTL_TEMPLATES`, such as `4G`, or 10 GiB.
pub(super) fn limit() -> u64 {
    let told = std::env::var("LABCTL_TEMPLATES").ok().and_then(|text| text.parse::<Size>().ok());
    told.map_or(10 << 30, |size| size.0)
}

/// For how long a template that was chosen for a fork is not removed; the fork notes that it uses it within seconds.
const FRESH: Duration = Duration::from_secs(600);

/// Begins the name of a folder in which a template is being made.
pub(super) const BUILDING: &str = ".building-";

/// Begins the name of a folder that is being removed.
pub(super) const REMOVED: &str = ".removed-";

/// The folder of all templates.
#[derive(Debug, Clone)]
pub struct Templates {
    root: PathBuf,
}

impl Templates {
    /// Those of this home.
    pub fn of(home: &Home) -> Self {
        Self { root: home.store().join("templates") }
    }

    /// Where the template of that key is made, before it gets its place.
    pub(crate) fn building(&self, key: &str) -> PathBuf {
        self.root.join(format!("{BUILDING}{key}"))
    }

    /// The folder of all.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The place of the template of that key.
    pub(crate) fn place(&self, key: &str) -> Template {
        Template { key: key.to_owned(), folder: self.root.join(key) }
    }

    /// The template of that key, if it is there.
    pub fn find(&self, key: &str) -> Option<Template> {
        let template = self.place(key);
        template.folder.join("template.json").exists().then_some(template)
    }

    /// All templates, the one that was used last first.
    pub fn all(&self) -> Vec<Template> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        // One that is being made, or removed, is none.
        let mut all: Vec<Template> = names.filter(|name| !name.starts_with('.')).filter_map(|name| self.find(&name)).collect();
        all.sort_by_key(|template| std::cmp::Reverse(template.used()));
        all
    }

    /// Held while the template of that key is being made; waits for whoever makes it.
    pub(crate) async fn turn(&self, key: &str) -> Result<File, Failure> {
        let path = self.lock(key);
        let file = self.open_lock(key).map_err(Failure::io(path.display()))?;
        let wait = move || file.lock().map(|()| file);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
        waited.map_err(Failure::io(path.display()))
    }

    /// The same if nobody holds it now.
    pub(super) fn try_turn(&self, key: &str) -> Option<File> {
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

    /// Removes a template, unless a lab's disks rest on it.
    pub fn remove(&self, template: &Template) -> Result<(), Failure> {
        let above = self.all().into_iter().find(|other| Layer::load(other).is_some_and(|layer| layer.stock == template.key));
        let layer = above.map(|layer| format!("layer {}", &layer.key[..12]));
        if let Some(user) = template.user().or(layer) {
            let message = format!("template {} carries the disks of {user}", &template.key[..12]);
            return Err(Failure::new(Kind::Conflict, message).hint("destroy the lab, or remove its snapshots, or the layer, first"));
        }
        // Out of sight first, so that it is never seen half removed; what a removal that was killed has left would be in the way.
        let doomed = self.root.join(format!("{REMOVED}{}", template.key));
        let _ = fs::remove_dir_all(&doomed);
        fs::rename(&template.folder, &doomed).map_err(Failure::io(template.folder.display()))?;
        match fs::remove_dir_all(&doomed) {
            // Whoever sweeps was quicker.
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(doomed.display())(why)),
            _ => Ok(()),
        }
    }

    /// Removes what was used longest ago until all take at most `limit` bytes; those in use, or just chosen for use, stay. Gives
    /// those removed.
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
