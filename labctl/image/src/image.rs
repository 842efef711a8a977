//! Images in the store: found by a hash of their inputs, made if they are missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use labctl_spec::image::{DiskFormat, Image, ImageSource};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bootstrap;
use crate::build::{Build, Parts};
use crate::cloud;
use crate::entry::{self, EntryLock};
use crate::error::ImageError;
use crate::files;
use crate::progress::{Event, Progress, off_thread};
use crate::provenance::Provenance;
use crate::store::Store;
use crate::store_error::{StoreError, at};
use crate::tree;

/// An image that is ready to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootImage {
    /// Hash of everything that it was made from, in hex.
    pub id: String,
    /// The disk; never written to, because nodes use overlays.
    pub disk: PathBuf,
    /// The disk's format.
    pub format: DiskFormat,
    /// Size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// How it boots.
    pub boot: Boot,
}

/// How an image boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// QEMU loads a kernel.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// Uncompressed `newc` archive with `/modules/order` (file names, one per line, in load order) and
        /// `/modules/*.ko`.
        modules: PathBuf,
    },
    /// The disk has a boot loader.
    Firmware,
}

/// An image in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Name of the image file that it was made from.
    pub name: String,
    /// Hash of everything that it was made from, in hex.
    pub id: String,
    /// Bytes that it takes on the disk.
    pub size: u64,
    /// When it was made.
    pub created: SystemTime,
    /// The image itself.
    pub image: BootImage,
}

/// `image.json`, written last: an entry without it does not exist.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    version: u32,
    name: String,
    created: SystemTime,
    pub(crate) parts: Parts,
    /// Where a baked image comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provenance: Option<Provenance>,
}

impl Description {
    pub(crate) fn new(name: &str, parts: Parts, provenance: Option<Provenance>) -> Self {
        Self { version: VERSION, name: name.to_owned(), created: SystemTime::now(), parts, provenance }
    }
}

/// Version of [`Description`].
const VERSION: u32 = 1;
const DESCRIPTION: &str = "image.json";

impl Store {
    /// The image, built or downloaded first if it is missing. `base` is the folder of the image file.
    ///
    /// If another process is already making it, this waits for that one. Dropping the future does not stop the work.
    ///
    /// # Errors
    /// Not enough disk space, a missing tool, packages that cannot be installed, a download that fails or has the wrong
    /// checksum.
    pub async fn image(&self, image: &Image, base: &Path, progress: &dyn Progress) -> Result<BootImage, ImageError> {
        if let Some(found) = self.find(image, base) {
            return Ok(found);
        }
        let (store, wanted, base) = (self.clone(), image.clone(), base.to_path_buf());
        let made = off_thread(progress, move |progress| store.make_image(&wanted, &base, progress)).await;
        made.unwrap_or_else(|panic| Err(ImageError::Aborted { image: image.name.clone(), reason: panic.to_string() }))
    }

    /// The image, if it is in the store; takes well under a millisecond.
    pub fn find(&self, image: &Image, base: &Path) -> Option<BootImage> {
        let id = id(image, base)?;
        let description = self.describe_image(&id)?;
        Some(self.boot_image(id, description.parts))
    }

    /// Every image in the store, newest first.
    pub fn images(&self) -> Vec<StoredImage> {
        let Ok(entries) = fs::read_dir(self.root().join("images")) else {
            return Vec::new();
        };
        let mut images: Vec<StoredImage> = entries
            .flatten()
            .filter_map(|entry| {
                let id = entry.file_name().into_string().ok()?;
                let description = self.describe_image(&id)?;
                Some(StoredImage {
                    name: description.name,
                    size: disk_use(&entry.path()),
                    created: description.created,
                    image: self.boot_image(id.clone(), description.parts),
                    id,
                })
            })
            .collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        images
    }

    /// Removes an image by its id; `false` if there was none. Nodes whose disks depend on it can no longer start: the
    /// caller makes sure that there are none.
    ///
    /// # Errors
    /// Its files cannot be removed.
    pub fn remove_image(&self, id: &str) -> Result<bool, StoreError> {
        let folder = self.root().join("images").join(id);
        if id.is_empty() || id.contains(['/', '.']) || !folder.is_dir() {
            return Ok(false);
        }
        let key = key(id);
        let lock = EntryLock::take(self.root(), &key, || {})?;
        // Renamed first, so that an interrupted removal leaves no partial image.
        let doomed = entry::build_folder(self.root(), &key, &lock)?.join("removed");
        files::publish(&folder, &doomed)?;
        files::remove_folder(&self.root().join("building").join(&key))?;
        Ok(true)
    }

    fn make_image(&self, image: &Image, base: &Path, progress: &dyn Progress) -> Result<BootImage, ImageError> {
        entry::sweep(self.root())?;
        let id = id(image, base).ok_or_else(|| ImageError::Invalid {
            image: image.name.clone(),
            field: "kernel",
            reason: format!("it cannot be read in {}", base.display()),
        })?;
        let key = key(&id);
        let lock = EntryLock::take(self.root(), &key, || {
            progress.event(Event::Step(format!("waiting for another labctl that is making image `{}`", image.name)));
        })?;
        if let Some(found) = self.find(image, base) {
            return Ok(found);
        }
        let folder = entry::build_folder(self.root(), &key, &lock)?;
        let log = self.log(&key);
        files::remove_file(&log)?;
        let build = Build { name: image.name.clone(), root: self.root(), key, folder, log, outside: self.outside(), lock, progress };
        let made = match &image.source {
            ImageSource::Bootstrap(source) => bootstrap::build(image, source, &build),
            ImageSource::Cloud(source) => cloud::build(image, source, base, &build),
            ImageSource::Baked(_) => Err(ImageError::NotBaked { image: image.name.clone() }),
        };
        let parts = match made {
            Ok(parts) => parts,
            Err(error) => {
                tree::remove_tree(&build.folder)?;
                return Err(error);
            }
        };
        let description = Description::new(&image.name, parts, None);
        self.publish(&build.folder, &id, &description)?;
        Ok(self.boot_image(id, description.parts))
    }

    /// Makes a folder with an image's files the image's entry.
    pub(crate) fn publish(&self, folder: &Path, id: &str, description: &Description) -> Result<(), StoreError> {
        let path = folder.join(DESCRIPTION);
        let text = serde_json::to_vec_pretty(description)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        fs::write(&path, text).map_err(at("write", &path))?;
        let entry = self.root().join("images").join(id);
        // A folder without a readable description belongs to another version of labctl or is damaged.
        files::remove_folder(&entry)?;
        files::flush_folder(folder)?;
        files::publish(folder, &entry)
    }

    pub(crate) fn describe_image(&self, id: &str) -> Option<Description> {
        let text = fs::read(self.root().join("images").join(id).join(DESCRIPTION)).ok()?;
        let description: Description = serde_json::from_slice(&text).ok()?;
        (description.version == VERSION).then_some(description)
    }

    pub(crate) fn boot_image(&self, id: String, parts: Parts) -> BootImage {
        let folder = self.root().join("images").join(&id);
        let boot = match (parts.kernel, parts.modules) {
            (Some(kernel), Some(modules)) => Boot::Direct { kernel: folder.join(kernel), modules: folder.join(modules) },
            _ => Boot::Firmware,
        };
        BootImage { id, disk: folder.join(parts.disk), format: parts.format, virtual_size: parts.virtual_size, boot }
    }
}

/// Name of an image's lock and build folder.
fn key(id: &str) -> String {
    format!("image-{id}")
}

/// Hash of everything that an image is made from; 32 hex digits keep paths short and make collisions negligible.
fn id(image: &Image, base: &Path) -> Option<String> {
    let inputs = match &image.source {
        ImageSource::Bootstrap(source) => bootstrap::inputs(source),
        ImageSource::Cloud(source) => cloud::inputs(source, base)?,
        ImageSource::Baked(source) => return Some(source.id.clone()),
    };
    Some(id_of(&inputs))
}

/// An id for these inputs.
pub(crate) fn id_of(inputs: &serde_json::Value) -> String {
    let hash = Sha256::digest(inputs.to_string().as_bytes());
    hex::encode(&hash[..16])
}

/// Bytes used on the disk, not counting holes.
fn disk_use(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}
