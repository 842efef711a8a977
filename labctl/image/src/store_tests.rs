use std::fs;
use std::process::Command;

use super::*;
use crate::entry::EntryLock;

#[test]
fn what_killed_builds_left_is_swept_and_what_runs_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for key in ["dead", "alive"] {
        fs::create_dir_all(folder.path().join("building").join(key).join("root")).unwrap();
    }
    let lock = EntryLock::try_take(folder.path(), "alive").unwrap().unwrap();
    store.sweep().unwrap();
    let left = || fs::read_dir(folder.path().join("building")).unwrap().count();
    assert_eq!(left(), 1);
    assert!(folder.path().join("building/alive").exists());
    drop(lock);
    // A program that another test is starting holds a copy of the lock until it execs; until then the sweep leaves the
    // folder to the next sweep.
    for _ in 0..100 {
        drop(EntryLock::take(folder.path(), "alive", || {}).unwrap());
        store.sweep().unwrap();
    }
    assert_eq!(left(), 0);
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("store")).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
    assert!(error.hint().contains("belongs to you"));
}

/// A file system of 1 MiB, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_in_numbers_before_anything_is_begun() {
    use labctl_spec::image::{Bootstrap, Cloud, DiskFormat, Image, ImageSource};
    let Some(disk) = SmallDisk::mount() else {
        labctl_skip::skip!("small-disk", "mounting a small file system needs root");
        return;
    };
    let store = Store::open(disk.0.path()).unwrap();
    let bootstrap = Bootstrap { suite: "bookworm".into(), mirror: None, packages: vec![], size: None };
    let mut image = Image { name: "x".into(), description: String::new(), source: ImageSource::Bootstrap(bootstrap) };
    let error = store.image(&image, disk.0.path(), &crate::Silent).await.unwrap_err();
    assert!(error.to_string().contains("image `x`: not enough disk space: 1400 MiB needed"), "{error}");
    assert!(error.to_string().contains("1 MiB free"), "{error}");
    assert!(error.hint().contains("labctl image rm"), "{}", error.hint());

    // A download learns its size from the server.
    let server = crate::test_server::TestServer::start();
    server.content("/large", &vec![0; 3 << 20]);
    image.source = ImageSource::Cloud(Cloud {
        url: server.url("/large"),
        checksum: format!("sha256:{}", "0".repeat(64)),
        format: DiskFormat::Raw,
        kernel: None,
    });
    let error = store.image(&image, disk.0.path(), &crate::Silent).await.unwrap_err();
    assert!(error.to_string().contains("/large: not enough disk space: 3 MiB needed"), "{error}");
}
