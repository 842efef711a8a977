use labctl_spec::image::ImageSource;
use sha2::{Digest, Sha256, Sha512};

use super::*;
use crate::progress::Silent;
use crate::test_server::{Served, TestServer};
use crate::{Boot, Store};

/// The header of a 1 GiB qcow2 image, and some data.
fn qcow2(backing: u64) -> Vec<u8> {
    let mut bytes = b"QFI\xfb\0\0\0\x03".to_vec();
    bytes.extend(backing.to_be_bytes());
    bytes.extend(0u32.to_be_bytes());
    bytes.extend(16u32.to_be_bytes());
    bytes.extend((1u64 << 30).to_be_bytes());
    bytes.resize(300_000, 9);
    bytes[72..80].fill(0);
    bytes
}

fn image(url: String, content: &[u8], format: DiskFormat) -> Image {
    let checksum = format!("sha512:{}", hex::encode(Sha512::digest(content)));
    let source = ImageSource::Cloud(Cloud { url, checksum, format, kernel: None });
    Image { name: "vendor".into(), description: String::new(), source }
}

#[tokio::test]
async fn a_download_that_breaks_at_half_ends_in_the_store_and_is_found_without_the_network() {
    let (server, folder) = (TestServer::start(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path()).unwrap();
    let content = qcow2(0);
    server.put("/v.qcow2", Served { content: content.clone(), etag: Some("\"1\"".into()), cuts: vec![150_000], ..Served::default() });
    let image = image(server.url("/v.qcow2"), &content, DiskFormat::Qcow2);
    assert_eq!(store.find(&image, folder.path()), None);
    let made = store.image(&image, folder.path(), &Silent).await.unwrap();
    assert_eq!((made.virtual_size, made.format, &made.boot), (1 << 30, DiskFormat::Qcow2, &Boot::Firmware));
    assert_eq!(fs::read(&made.disk).unwrap(), content);
    assert_eq!(server.requests(), ["/v.qcow2", "/v.qcow2 bytes=150000-"]);
    assert_eq!(store.image(&image, folder.path(), &Silent).await.unwrap(), made);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(store.images()[0].name, "vendor");
    assert!(store.remove_image(&made.id).unwrap());
    assert!(!store.remove_image(&made.id).unwrap());
    assert_eq!(store.images(), []);
    assert_eq!(fs::read_dir(folder.path().join("building")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_wrong_checksum_leaves_no_image_and_no_leftovers() {
    let (server, folder) = (TestServer::start(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path()).unwrap();
    server.content("/v.qcow2", &qcow2(0));
    let image = image(server.url("/v.qcow2"), b"something else", DiskFormat::Qcow2);
    let error = store.image(&image, folder.path(), &Silent).await.unwrap_err();
    assert!(error.to_string().starts_with("image `vendor`: http://127.0.0.1"), "{error}");
    assert!(error.to_string().contains("wrong checksum"), "{error}");
    assert_eq!(store.images(), []);
    for leftover in ["building", "downloads", "images"] {
        assert_eq!(fs::read_dir(folder.path().join(leftover)).unwrap().count(), 0, "{leftover}");
    }
}

#[tokio::test]
async fn an_unstated_checksum_is_refused_before_anything_is_asked_for() {
    let (server, folder) = (TestServer::start(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path()).unwrap();
    let mut image = image(server.url("/v.qcow2"), b"", DiskFormat::Qcow2);
    if let ImageSource::Cloud(cloud) = &mut image.source {
        cloud.checksum = "sha512:PASTE-THE-CHECKSUM".into();
    }
    let error = store.image(&image, folder.path(), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("as the vendor prints them"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn files_beside_the_image_file_are_taken_and_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    fs::write(folder.path().join("v.raw"), [7; 1024]).unwrap();
    fs::write(folder.path().join("vmlinuz"), "kernel").unwrap();
    let mut good = image("v.raw".into(), &[7; 1024], DiskFormat::Raw);
    if let ImageSource::Cloud(cloud) = &mut good.source {
        cloud.checksum = format!("sha256:{}", hex::encode(Sha256::digest([7; 1024])));
        cloud.kernel = Some("vmlinuz".into());
    }
    let made = store.image(&good, folder.path(), &Silent).await.unwrap();
    assert_eq!(made.virtual_size, 1024);
    let Boot::Direct { kernel, .. } = &made.boot else { panic!("{made:?}") };
    assert_eq!(fs::read(kernel).unwrap(), b"kernel");
    fs::write(folder.path().join("vmlinuz"), "another").unwrap();
    assert_eq!(store.find(&good, folder.path()), None, "another kernel is another image");

    let bad = image("v.raw".into(), b"", DiskFormat::Raw);
    let error = store.image(&bad, folder.path(), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("v.raw has the wrong checksum"), "{error}");
    let absent = image("none.raw".into(), b"", DiskFormat::Raw);
    let error = store.image(&absent, folder.path(), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("none.raw"), "{error}");
}

#[test]
fn an_image_that_names_other_files_or_lies_about_its_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("d");
    fs::write(&disk, qcow2(0)).unwrap();
    assert_eq!(virtual_size(&disk, DiskFormat::Qcow2), Ok(1 << 30));
    assert!(virtual_size(&disk, DiskFormat::Raw).unwrap_err().contains("qcow2"));
    fs::write(&disk, qcow2(512)).unwrap();
    assert!(virtual_size(&disk, DiskFormat::Qcow2).unwrap_err().contains("another file"));
    let mut data_file = qcow2(0);
    data_file[79] = 4;
    fs::write(&disk, data_file).unwrap();
    assert!(virtual_size(&disk, DiskFormat::Qcow2).unwrap_err().contains("another file"));
    fs::write(&disk, [0; 1000]).unwrap();
    assert!(virtual_size(&disk, DiskFormat::Raw).unwrap_err().contains("sectors"));
    assert!(virtual_size(&disk, DiskFormat::Qcow2).is_err());
}
