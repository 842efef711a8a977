//! The kernel modules that a guest needs before it can access its disk: taken from `/lib/modules/VERSION`,
//! decompressed, sorted into load order, and packed into one archive for the initrd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use crate::cpio::Cpio;

/// Modules that a guest loads in early boot, if its kernel has them as modules.
pub(crate) const WANTED: [&str; 7] = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4", "vmgenid"];

/// The archive: `modules/order` (file names, one per line, in load order) and `modules/*.ko`.
pub(crate) fn archive(folder: &Path) -> Result<Vec<u8>, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let order = order(&read("modules.dep")?, &read("modules.builtin")?)?;
    let mut cpio = Cpio::default();
    let mut names = String::new();
    let mut files = Vec::new();
    for path in &order {
        let name = format!("{}.ko", module_name(path));
        names.push_str(&name);
        names.push('\n');
        files.push((name, decompress(&folder.join(path))?));
    }
    cpio.folder("modules");
    cpio.file("modules/order", names.as_bytes());
    for (name, content) in &files {
        cpio.file(&format!("modules/{name}"), content);
    }
    Ok(cpio.finish())
}

/// A module's name from its path: the kernel treats `-` and `_` alike, and a compression suffix is not part of the
/// name.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Paths in load order: every module comes after those that it needs.
///
/// A line of modules.dep lists a module and all its direct and indirect dependencies, in an order in which the last
/// must be loaded first (depmod(8)).
fn order(dep: &str, builtin: &str) -> Result<Vec<String>, String> {
    let builtin: BTreeSet<String> = builtin.lines().map(module_name).collect();
    let mut lines: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for line in dep.lines() {
        let (path, needs) = line.split_once(':').ok_or_else(|| format!("modules.dep has a line without `:`: `{line}`"))?;
        lines.insert(module_name(path), (path, needs));
    }
    let mut order: Vec<String> = Vec::new();
    let mut add = |path: &str| {
        if !order.iter().any(|known| known == path) {
            order.push(path.to_string());
        }
    };
    for wanted in WANTED {
        match lines.get(wanted) {
            Some((path, needs)) => needs.split_whitespace().rev().chain([*path]).for_each(&mut add),
            None if builtin.contains(wanted) => {}
            // Debian 12's kernels have no driver for it; no other module in the list may be absent.
            None if wanted == "vmgenid" => {}
            None => {
                return Err(format!("its kernel has no `{wanted}`, without which a guest cannot start"));
            }
        }
    }
    Ok(order)
}

/// A module's uncompressed content.
fn decompress(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut plain = Vec::new();
            lzma_rust2::XzReader::new(bytes.as_slice(), true)
                .read_to_end(&mut plain)
                .map_err(|error| format!("cannot decompress {}: {error}", path.display()))?;
            Ok(plain)
        }
        _ => Err(format!("{} uses a compression format that labctl does not support (only xz is supported)", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
";

    #[test]
    fn every_module_comes_after_what_it_needs_and_once() {
        let order = order(DEP, "kernel/fs/ext4/ext4.ko\n").unwrap();
        let names: Vec<String> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(
            names,
            [
                "virtio_ring",
                "virtio",
                "virtio_pci_legacy_dev",
                "virtio_pci",
                "virtio_blk",
                "failover",
                "net_failover",
                "virtio_net",
                "virtio_console",
                "virtio_rng"
            ]
        );
    }

    #[test]
    fn a_kernel_without_a_file_system_is_refused() {
        let error = order(DEP, "").unwrap_err();
        assert!(error.contains("`ext4`"), "{error}");
    }

    #[test]
    fn modules_are_stored_plain_whatever_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // `printf hello | xz | od -An -tx1`
        let xz = "fd377a585a000004e6d6b4460200210116000000742fe5a301000468656c6c6f00000000\
            b137b9dbe5da1e9b00011d05b82d80af1fb6f37d010000000004595a";
        let xz = hex::decode(xz).unwrap();
        fs::write(path("a.ko"), b"plain").unwrap();
        assert_eq!(decompress(&path("a.ko")).unwrap(), b"plain");
        fs::write(path("b.ko.xz"), xz).unwrap();
        assert_eq!(decompress(&path("b.ko.xz")).unwrap(), b"hello");
        fs::write(path("c.ko.zst"), b"?").unwrap();
        assert!(decompress(&path("c.ko.zst")).unwrap_err().contains("does not support"));
    }
}
