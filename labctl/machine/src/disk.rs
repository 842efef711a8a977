//! Disks: throw-away overlays on images that nobody changes.

use std::path::Path;

use labctl_spec::size::Size;
use tokio::process::Command;

use crate::MachineError;

/// Makes the overlay `disk` (qcow2) of `size` on `base`, by way of a temporary name, so that it is there whole or not at all.
/// `base_format` is QEMU's name of the image's format. An overlay is never smaller than its base.
pub async fn make_overlay(disk: &Path, base: &Path, base_format: &str, size: Size) -> Result<(), MachineError> {
    let temporary = disk.with_extension("new");
    create(&temporary, base, base_format, size).await?;
    tokio::fs::rename(&temporary, disk).await.map_err(MachineError::io(disk.display().to_string()))
}

/// Makes an overlay on a `base` (qcow2) that need not exist yet. Copies of it are overlays of the same base.
pub async fn make_overlay_on_future(disk: &Path, base: &Path, size: Size) -> Result<(), MachineError> {
    create(disk, base, "qcow2", size).await
}

async fn create(disk: &Path, base: &Path, base_format: &str, size: Size) -> Result<(), MachineError> {
    // `-u`: the base is not opened, for its size is known.
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
