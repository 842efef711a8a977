//! A vendor's cloud image: downloaded or copied, checked, and used unmodified. A NoCloud seed ([`crate::seed`])
//! configures it at its first boot.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use labctl_spec::image::{Cloud, DiskFormat, Image};

use crate::build::{Build, Parts};
use crate::checksum::{self, Checksum};
use crate::cpio::Cpio;
use crate::download::{Download, DownloadError};
use crate::error::ImageError;
use crate::progress::Event;
use crate::store_error::at;

/// Everything that determines the image, in a form that can be hashed. `None` if its kernel cannot be read.
pub(crate) fn inputs(cloud: &Cloud, base: &Path) -> Option<serde_json::Value> {
    let kernel = match &cloud.kernel {
        Some(path) => Some(checksum::sha256(&base.join(path)).ok()?),
        None => None,
    };
    // The checksum identifies the content, wherever it comes from. Case and surrounding blanks do not matter.
    let sum = cloud.checksum.trim().to_ascii_lowercase();
    Some(serde_json::json!({ "cloud": 1, "checksum": sum, "format": cloud.format, "kernel": kernel }))
}

/// Brings the image into the build's folder; returns its parts.
pub(crate) fn build(image: &Image, cloud: &Cloud, base: &Path, build: &Build<'_>) -> Result<Parts, ImageError> {
    let invalid = |field, reason| ImageError::Invalid { image: image.name.clone(), field, reason };
    let wanted: Checksum =
        cloud.checksum.parse().map_err(|reason| invalid("checksum", format!("{reason}; without it labctl does not boot {}", cloud.url)))?;
    let name = match cloud.format {
        DiskFormat::Qcow2 => "disk.qcow2",
        DiskFormat::Raw => "disk.raw",
    };
    let disk = build.folder.join(name);
    let failed = |error| ImageError::Download { image: image.name.clone(), error };
    if is_web(&cloud.url) {
        let download = Download { url: &cloud.url, checksum: &wanted, root: build.root, key: &build.key, outside: build.outside };
        download.fetch(&disk, build.progress).map_err(failed)?;
    } else {
        let from = base.join(&cloud.url);
        build.progress.event(Event::Step(format!("copying {}", from.display())));
        let size = fs::metadata(&from).map_err(|error| invalid("url", format!("cannot read {}: {error}", from.display())))?;
        crate::space::require(&format!("image `{}`", image.name), &disk, size.len())?;
        fs::copy(&from, &disk).map_err(at("copy", &from))?;
        let got = wanted.of_same_kind(&disk)?;
        if got != wanted {
            return Err(failed(DownloadError::Checksum { url: from.display().to_string(), wanted, got }));
        }
    }
    let virtual_size = virtual_size(&disk, cloud.format).map_err(|reason| invalid("format", reason))?;
    let kernel = copy_kernel(cloud, base, build).map_err(|reason| invalid("kernel", reason))?;
    let modules = kernel.is_some().then(|| PathBuf::from("modules.cpio"));
    if let Some(modules) = &modules {
        // A kernel supplied by the user must have the drivers it needs built in.
        let mut cpio = Cpio::default();
        cpio.folder("modules");
        cpio.file("modules/order", b"");
        let path = build.folder.join(modules);
        fs::write(&path, cpio.finish()).map_err(at("write", &path))?;
    }
    Ok(Parts { disk: name.into(), format: cloud.format, virtual_size, kernel, modules })
}

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn copy_kernel(cloud: &Cloud, base: &Path, build: &Build<'_>) -> Result<Option<PathBuf>, String> {
    let Some(kernel) = &cloud.kernel else {
        return Ok(None);
    };
    let from = base.join(kernel);
    fs::copy(&from, build.folder.join("kernel")).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(Some("kernel".into()))
}

/// Size that a guest will see, in bytes, after checking the image's header: a qcow2 that refers to other files (QEMU,
/// docs/interop/qcow2.txt) could read any file on the host.
pub(crate) fn virtual_size(disk: &Path, format: DiskFormat) -> Result<u64, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", disk.display());
    let mut head = [0; 80];
    let mut file = File::open(disk).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    let is_qcow2 = file.read_exact(&mut head).is_ok() && head[..4] == *b"QFI\xfb";
    match (format, is_qcow2) {
        (DiskFormat::Raw, true) => Err("the file is a qcow2 image, not a raw one".into()),
        (DiskFormat::Qcow2, false) => Err("the file is not a qcow2 image".into()),
        (DiskFormat::Raw, false) if length == 0 || length % 512 != 0 => {
            Err(format!("the file's {length} bytes are not a whole number of 512-byte sectors"))
        }
        (DiskFormat::Raw, false) => Ok(length),
        (DiskFormat::Qcow2, true) => {
            let long = |at: usize| head[at..at + 8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            let version = head[7];
            const DATA_FILE: u64 = 1 << 2;
            if long(8) != 0 || (version >= 3 && long(72) & DATA_FILE != 0) {
                return Err("the image refers to another file, which labctl does not allow".into());
            }
            Ok(long(24))
        }
    }
}

#[cfg(test)]
#[path = "cloud_tests.rs"]
mod tests;
