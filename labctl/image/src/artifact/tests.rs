use std::io::Write;

use super::*;
use crate::progress::Silent;
use crate::test_server::{Served, TestServer};
use labctl_spec::artifact::{DirectorySource, ReleaseSource};

/// A file that `tests/signatures/make.sh` made: keys, archives, lists of them and the lists' signatures.
pub(super) fn made(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signatures").join(name)).unwrap()
}

/// The program in `release.zip`.
fn program() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| (n / 100).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A vendor with its own server that publishes a release of `consul` 1.0, and a store.
struct Vendor {
    server: TestServer,
    folder: tempfile::TempDir,
    store: Store,
    archive: Vec<u8>,
}

impl Vendor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendor = Self {
            server: TestServer::start(),
            store: Store::open(&folder.path().join("store")).unwrap(),
            archive: made("release.zip"),
            folder,
        };
        fs::write(vendor.folder.path().join("key.asc"), made("vendor.asc")).unwrap();
        vendor.publish("release");
        vendor
    }

    /// Puts an archive, its list and the list's signature on the server.
    fn publish(&self, name: &str) {
        self.server.content("/consul/1.0/sums", &made(&format!("{name}.sums")));
        self.server.content("/consul/1.0/sums.sig", &made(&format!("{name}.sig")));
        self.server.content("/consul/1.0/consul_1.0.zip", &made(&format!("{name}.zip")));
    }

    fn artifact(&self) -> Artifact {
        let release = ReleaseSource {
            base: self.server.url("/{name}/{version}"),
            archive: "{name}_{version}.zip".into(),
            checksums: "sums".into(),
            signature: "sums.sig".into(),
            key: "key.asc".into(),
            member: None,
        };
        Artifact {
            name: "consul".into(),
            version: "1.0".into(),
            sources: vec![
                ArtifactSource::Directory(DirectorySource { path: Some("offline".into()), sha256: None }),
                ArtifactSource::Release(release),
            ],
        }
    }

    async fn fetch(&self) -> Result<StoredArtifact, ArtifactError> {
        self.store.artifact(&self.artifact(), self.folder.path(), &Silent).await
    }

    /// Number of entries in the store besides logs and locks.
    fn stored(&self) -> usize {
        let artifacts = fs::read_dir(self.store.root().join("artifacts")).unwrap().count();
        artifacts + fs::read_dir(self.store.root().join("building")).unwrap().count()
    }

    /// Why the release, the only source, was skipped.
    async fn refused(&self) -> String {
        let error = self.fetch().await.unwrap_err();
        let ArtifactError::NoSource { passed_over, .. } = &error else { panic!("{error}") };
        assert_eq!(self.stored(), 0, "nothing unchecked is kept");
        assert_eq!(passed_over.len(), 2);
        assert!(error.hint().contains("$LABCTL_ARTIFACTS/consul/1.0/"));
        passed_over[1].why.clone()
    }
}

#[tokio::test]
async fn a_signed_release_is_unpacked_and_then_never_asked_for_again() {
    let vendor = Vendor::new();
    let got = vendor.fetch().await.unwrap();
    assert_eq!(fs::read(&got.path).unwrap(), program());
    assert_eq!(got.sha256, hex::encode(Sha256::digest(program())));
    assert_eq!(got.size, 400_000);
    assert_eq!(fs::metadata(&got.path).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(got.source, format!("release {}", vendor.server.url("/consul/1.0")));
    assert!(got.passed_over[0].why.contains("No such file"), "{:?}", got.passed_over);
    let requests = vendor.server.requests().len();
    assert_eq!(vendor.fetch().await.unwrap(), got);
    assert_eq!(vendor.server.requests().len(), requests);
}

#[tokio::test]
async fn a_list_signed_by_a_subkey_counts_too() {
    let vendor = Vendor::new();
    vendor.server.content("/consul/1.0/sums.sig", &made("subkey.sig"));
    vendor.fetch().await.unwrap();
}

#[tokio::test]
async fn a_signature_of_another_key_is_refused() {
    let vendor = Vendor::new();
    vendor.server.content("/consul/1.0/sums.sig", &made("other.sig"));
    let why = vendor.refused().await;
    assert!(why.contains("is not signed by the pinned key"), "{why}");
    assert!(!vendor.server.requests().iter().any(|request| request.contains("zip")), "the archive is not even asked for");
}

#[tokio::test]
async fn a_list_that_was_changed_after_signing_is_refused() {
    let vendor = Vendor::new();
    let list = format!("{}  consul_1.0.zip\n", hex::encode(Sha256::digest("evil")));
    vendor.server.content("/consul/1.0/sums", list.as_bytes());
    vendor.server.content("/consul/1.0/consul_1.0.zip", b"evil");
    let why = vendor.refused().await;
    assert!(why.contains("is not signed by the pinned key"), "{why}");
}

#[tokio::test]
async fn an_archive_that_is_not_the_one_in_the_list_is_refused() {
    let vendor = Vendor::new();
    vendor.server.content("/consul/1.0/consul_1.0.zip", &zip(&[("consul", b"evil")]));
    let why = vendor.refused().await;
    assert!(why.contains("wrong checksum"), "{why}");
}

#[tokio::test]
async fn an_archive_that_the_list_lacks_is_refused() {
    let vendor = Vendor::new();
    vendor.server.content("/consul/1.0/sums", &made("lacking.sums"));
    vendor.server.content("/consul/1.0/sums.sig", &made("lacking.sig"));
    let why = vendor.refused().await;
    assert!(why.contains("does not list consul_1.0.zip"), "{why}");
}

#[tokio::test]
async fn a_download_cut_off_is_resumed_within_and_across_commands() {
    let vendor = Vendor::new();
    let half = vendor.archive.len() / 2;
    let cuts = vec![half, 0, 0, 0];
    vendor.server.put(
        "/consul/1.0/consul_1.0.zip",
        Served { content: vendor.archive.clone(), etag: Some("\"1\"".into()), cuts, ..Served::default() },
    );
    let error = vendor.fetch().await.unwrap_err();
    assert!(error.to_string().contains("the connection broke after"), "{error}");
    vendor.fetch().await.unwrap();
    assert_eq!(vendor.server.requests().last().unwrap(), &format!("/consul/1.0/consul_1.0.zip bytes={half}-"));
}

#[tokio::test]
async fn names_in_an_archive_decide_nothing() {
    let vendor = Vendor::new();
    vendor.publish("names");
    let why = vendor.refused().await;
    assert!(why.contains("does not contain consul"), "{why}");
    assert!(!vendor.folder.path().join("consul").exists());

    // A symlink in place of the program is not followed.
    vendor.publish("link");
    let why = vendor.refused().await;
    assert!(why.contains("is not a plain file"), "{why}");
}

#[tokio::test]
async fn a_local_folder_comes_first_and_is_checked() {
    let vendor = Vendor::new();
    let offline = vendor.folder.path().join("offline");
    fs::create_dir(&offline).unwrap();
    fs::write(offline.join("consul"), "local").unwrap();
    // Nothing to check it against: skipped in favour of the release.
    let got = vendor.fetch().await.unwrap();
    assert!(got.source.starts_with("release"));
    assert!(got.passed_over[0].why.contains("nothing to check"), "{:?}", got.passed_over);

    let other = Vendor { store: Store::open(&vendor.folder.path().join("store2")).unwrap(), ..vendor };
    fs::write(offline.join("SHA256SUMS"), format!("{}  consul\n", "0".repeat(64))).unwrap();
    let got = other.fetch().await.unwrap();
    assert!(got.passed_over[0].why.contains("wrong checksum"), "{:?}", got.passed_over);

    let third = Vendor { store: Store::open(&other.folder.path().join("store3")).unwrap(), ..other };
    fs::write(offline.join("SHA256SUMS"), format!("{}  consul\n", hex::encode(Sha256::digest("local")))).unwrap();
    let asked = third.server.requests().len();
    let got = third.fetch().await.unwrap();
    assert_eq!(fs::read(&got.path).unwrap(), b"local");
    assert_eq!((got.passed_over, third.server.requests().len()), (vec![], asked), "no network at all");
}

#[tokio::test]
async fn another_pinned_key_is_another_artifact() {
    let vendor = Vendor::new();
    vendor.fetch().await.unwrap();
    fs::write(vendor.folder.path().join("key.asc"), made("other.asc")).unwrap();
    assert_eq!(vendor.store.find_artifact(&vendor.artifact(), vendor.folder.path()), None);
}

/// A clone of a repository needs nothing that another one has already fetched. Validated declarations have absolute paths.
#[tokio::test]
async fn an_artifact_is_the_same_wherever_its_file_is() {
    let (vendor, elsewhere) = (Vendor::new(), Vendor::new());
    let declared = |vendor: &Vendor| {
        let mut artifact = vendor.artifact();
        let folder = vendor.folder.path();
        artifact.sources.push(ArtifactSource::Cargo(labctl_spec::artifact::CargoSource { path: folder.join("program") }));
        for source in &mut artifact.sources {
            if let ArtifactSource::Release(release) = source {
                (release.base, release.key) = ("https://releases.example".into(), folder.join(&release.key));
            }
        }
        artifact
    };
    let key = |vendor: &Vendor| key(&declared(vendor), vendor.folder.path());
    assert_eq!(key(&vendor), key(&elsewhere));
    fs::write(elsewhere.folder.path().join("key.asc"), made("other.asc")).unwrap();
    assert_ne!(key(&vendor), key(&elsewhere));
}

#[tokio::test]
async fn equal_contents_are_kept_once_and_damage_is_noticed() {
    let vendor = Vendor::new();
    let first = vendor.fetch().await.unwrap();
    let mut artifact = vendor.artifact();
    artifact.sources.remove(0);
    let second = vendor.store.artifact(&artifact, vendor.folder.path(), &Silent).await.unwrap();
    assert_eq!(first.path, second.path);
    fs::write(&first.path, "cut").unwrap();
    assert_eq!(vendor.store.find_artifact(&artifact, vendor.folder.path()), None);
    assert_eq!(vendor.fetch().await.unwrap().size, 400_000);
}

#[tokio::test]
async fn a_name_that_is_a_path_is_refused() {
    let vendor = Vendor::new();
    let artifact = Artifact { name: "../consul".into(), ..vendor.artifact() };
    let error = vendor.store.artifact(&artifact, vendor.folder.path(), &Silent).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn two_that_want_the_same_at_once_get_one_fetch() {
    let vendor = Vendor::new();
    let (first, second) = tokio::join!(vendor.fetch(), vendor.fetch());
    assert_eq!(first.unwrap(), second.unwrap());
    let archives = vendor.server.requests().iter().filter(|request| request.ends_with(".zip")).count();
    assert_eq!(archives, 1);
}
