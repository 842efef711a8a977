//! Disks: disposable overlays on images that are never modified.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use labctl_spec::size::Size;
use tokio::process::Command;

use crate::MachineError;

/// Makes the overlay `disk` (qcow2) of `size` on `base`, via a temporary name, so that the result is complete or
/// absent. `base_format` is QEMU's name for the image's format. An overlay is never smaller than its base.
pub async fn make_overlay(disk: &Path, base: &Path, base_format: &str, size: Size) -> Result<(), MachineError> {
    let temporary = disk.with_extension("new");
    create(&temporary, base, base_format, size).await?;
    tokio::fs::rename(&temporary, disk).await.map_err(MachineError::io(disk.display().to_string()))
}

/// Makes an overlay on a `base` (qcow2) that need not exist yet. Copies of the overlay share the same base.
pub async fn make_overlay_on_future(disk: &Path, base: &Path, size: Size) -> Result<(), MachineError> {
    create(disk, base, "qcow2", size).await
}

/// The backing file of a qcow2 disk; `None` if it has none. Read from the disk's header (docs/interop/qcow2.txt).
pub fn backing(disk: &Path) -> Result<Option<PathBuf>, MachineError> {
    let read = || -> std::io::Result<Option<PathBuf>> {
        let file = File::open(disk)?;
        let mut header = [0; 20];
        file.read_exact_at(&mut header, 0)?;
        if &header[..4] != b"QFI\xfb" {
            return Err(std::io::Error::other("this is not a qcow2 disk"));
        }
        let (place, length) = header[8..].split_at(8);
        let place = u64::from_be_bytes(place.try_into().unwrap_or_default());
        let length = u32::from_be_bytes(length.try_into().unwrap_or_default());
        // The format allows at most 1023 bytes.
        if place == 0 || length > 1023 {
            return Ok(None);
        }
        let mut name = vec![0; length as usize];
        file.read_exact_at(&mut name, place)?;
        Ok(Some(PathBuf::from(OsString::from_vec(name))))
    };
    read().map_err(MachineError::io(disk.display().to_string()))
}

/// The size of a qcow2 disk as a guest sees it. Read from the disk's header (docs/interop/qcow2.txt).
pub fn virtual_size(disk: &Path) -> Result<Size, MachineError> {
    let read = || -> std::io::Result<Size> {
        let mut header = [0; 32];
        File::open(disk)?.read_exact_at(&mut header, 0)?;
        if &header[..4] != b"QFI\xfb" {
            return Err(std::io::Error::other("this is not a qcow2 disk"));
        }
        Ok(Size(header[24..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
    };
    read().map_err(MachineError::io(disk.display().to_string()))
}

/// Enlarges a disk (qcow2). No machine may be running on it. Repeating the call changes nothing.
pub async fn enlarge(disk: &Path, size: Size) -> Result<(), MachineError> {
    let output = Command::new("qemu-img")
        .args(["resize", "-q", "-f", "qcow2"])
        .arg(disk)
        .arg(size.0.to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .map_err(MachineError::start("qemu-img"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(MachineError::Program { program: "qemu-img".into(), why: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
    }
}

async fn create(disk: &Path, base: &Path, base_format: &str, size: Size) -> Result<(), MachineError> {
    // `-u`: the base is not opened, because its size is known.
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", base_format, "-o", "lazy_refcounts=on", "-b"])
        .arg(base)
        .arg(disk)
        .arg(size.0.to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .map_err(MachineError::start("qemu-img"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(MachineError::Program { program: "qemu-img create".into(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_overlay_knows_what_it_rests_on() {
        let folder = tempfile::tempdir().unwrap();
        let (base, disk) = (folder.path().join("a base"), folder.path().join("disk.qcow2"));
        std::fs::write(&base, [0; 4096]).unwrap();
        match make_overlay(&disk, &base, "raw", Size::mib(1)).await {
            Err(MachineError::Missing { program }) => return labctl_skip::skip!("qemu-img", "{program} is not installed"),
            made => made.unwrap(),
        }
        assert_eq!(backing(&disk).unwrap(), Some(base.clone()));
        assert_eq!(virtual_size(&disk).unwrap(), Size::mib(1));
        enlarge(&disk, Size::mib(3)).await.unwrap();
        assert_eq!(virtual_size(&disk).unwrap(), Size::mib(3));
        assert_eq!(backing(&disk).unwrap(), Some(base.clone()));
        assert!(backing(&base).is_err());
    }
}
