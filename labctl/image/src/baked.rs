//! Baked images: the disk of a provisioned machine, flattened into an image of its own, with notes on where it comes from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use labctl_spec::image::DiskFormat;

use crate::build::Parts;
use crate::checksum;
use crate::child::{self, Ended};
use crate::cloud;
use crate::entry::{self, EntryLock};
use crate::error::ImageError;
use crate::files;
use crate::image::{Boot, BootImage, Description, id_of};
use crate::progress::{Event, Progress, off_thread};
use crate::provenance::Provenance;
use crate::space;
use crate::store::Store;
use crate::store_error::at;
use crate::tree;

impl Store {
    /// Makes an image from a machine's disk. The machine is off, and its disk is a qcow2 file that may be based on others. It boots like the image
    /// that it is based on.
    ///
    /// # Errors
    /// Not enough disk space; `qemu-img` is missing or fails.
    pub async fn add_baked(
        &self,
        name: &str,
        disk: PathBuf,
        base: BootImage,
        provenance: Provenance,
        progress: &dyn Progress,
    ) -> Result<BootImage, ImageError> {
        let (store, image) = (self.clone(), name.to_owned());
        let made = off_thread(progress, move |progress| store.bake(&image, &disk, &base, provenance, progress)).await;
        made.unwrap_or_else(|panic| Err(ImageError::Aborted { image: name.to_owned(), reason: panic.to_string() }))
    }

    fn bake(
        &self,
        name: &str,
        disk: &Path,
        base: &BootImage,
        provenance: Provenance,
        progress: &dyn Progress,
    ) -> Result<BootImage, ImageError> {
        entry::sweep(self.root())?;
        let key = format!("bake-{name}");
        let lock = EntryLock::take(self.root(), &key, || {
            progress.event(Event::Step("waiting for another labctl that is baking an image of this name".to_owned()));
        })?;
        let folder = entry::build_folder(self.root(), &key, &lock)?;
        let log = self.log(&key);
        files::remove_file(&log)?;
        let made = Flatten { name, disk, base, folder: &folder, lock: &lock, log: &log }.run(progress);
        let (parts, id) = match made {
            Ok(made) => made,
            Err(error) => {
                tree::remove_tree(&folder)?;
                return Err(error);
            }
        };
        let description = Description::new(name, parts, Some(provenance));
        self.publish(&folder, &id, &description)?;
        Ok(self.boot_image(id, description.parts))
    }

    /// Where a baked image comes from; none for other images.
    pub fn provenance(&self, id: &str) -> Option<Provenance> {
        self.describe_image(id)?.provenance
    }
}

/// A disk on its way to an entry of its own.
struct Flatten<'a> {
    name: &'a str,
    disk: &'a Path,
    base: &'a BootImage,
    folder: &'a Path,
    lock: &'a EntryLock,
    log: &'a Path,
}

impl Flatten<'_> {
    /// The image's files, and its id.
    fn run(&self, progress: &dyn Progress) -> Result<(Parts, String), ImageError> {
        let flat = self.folder.join("disk.qcow2");
        progress.event(Event::Step("copying the disk".to_owned()));
        // The disk and what it is based on are at most this long together; usually much shorter.
        space::require(&format!("image `{}`", self.name), &flat, chain_size(self.disk, self.base))?;
        self.convert(&flat)?;
        let unusable = |reason| unusable(self.name, reason);
        let virtual_size = cloud::virtual_size(&flat, DiskFormat::Qcow2).map_err(unusable)?;
        let (kernel, modules) = match &self.base.boot {
            Boot::Direct { kernel, modules } => (Some(self.share(kernel, "kernel")?), Some(self.share(modules, "modules.cpio")?)),
            Boot::Firmware => (None, None),
        };
        progress.event(Event::Step("reading it".to_owned()));
        let content = checksum::sha256(&flat)?;
        let id = id_of(&serde_json::json!({ "baked": 1, "content": content, "base": self.base.id }));
        Ok((Parts { disk: "disk.qcow2".into(), format: DiskFormat::Qcow2, virtual_size, kernel, modules }, id))
    }

    fn convert(&self, flat: &Path) -> Result<(), ImageError> {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "qcow2"]).arg(self.disk).arg(flat);
        match child::run(convert, self.lock, self.log)? {
            Ended::Well => Ok(()),
            Ended::NotFound => Err(unusable(self.name, "`qemu-img` is not installed (sudo apt-get install qemu-utils)".to_owned())),
            Ended::Badly { status, lines, .. } => {
                let (image, log) = (self.name.to_owned(), self.log.to_owned());
                Err(ImageError::Failed { image, program: "qemu-img".into(), status, lines, log })
            }
        }
    }

    /// A file of the base image, which never changes, under a name in this entry.
    fn share(&self, from: &Path, name: &str) -> Result<PathBuf, ImageError> {
        let to = self.folder.join(name);
        fs::hard_link(from, &to).or_else(|_| fs::copy(from, &to).map(drop)).map_err(at("copy", from))?;
        Ok(name.into())
    }
}

fn unusable(image: &str, reason: String) -> ImageError {
    ImageError::Unusable { image: image.to_owned(), reason }
}

/// Bytes that the disk and its image take.
fn chain_size(disk: &Path, base: &BootImage) -> u64 {
    use std::os::unix::fs::MetadataExt;
    [disk, &base.disk].iter().filter_map(|path| fs::metadata(path).ok()).map(|about| about.blocks() * 512).sum()
}
