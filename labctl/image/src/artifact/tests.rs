use std::io::Write;

use labctl_spec::artifact::{DirectorySource, ReleaseSource};
use pgp::composed::{
    ArmorOptions, Deserializable, DetachedSignature, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::Password;

use super::*;
use crate::progress::Silent;
use crate::test_server::{Served, TestServer};

/// A key with one signing subkey, created for one test.
fn new_key() -> SignedSecretKey {
    let subkey =
        SubkeyParamsBuilder::default().key_type(KeyType::Ed25519Legacy).can_sign(true).can_encrypt(EncryptionCaps::None).build().unwrap();
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("Vendor <vendor@example.com>".into())
        .subkeys(vec![subkey])
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap()
}

fn armoured(key: &SignedSecretKey) -> String {
    SignedPublicKey::from(key.clone()).to_armored_string(ArmorOptions::default()).unwrap()
}

fn sign(key: &SignedSecretKey, hash: HashAlgorithm, content: &[u8]) -> Vec<u8> {
    let signature = DetachedSignature::sign_binary_data(rand::thread_rng(), &key.primary_key, &Password::empty(), hash, content);
    signature.unwrap().to_bytes().unwrap()
}

fn sign_by_subkey(key: &SignedSecretKey, content: &[u8]) -> Vec<u8> {
    let subkey = &key.secret_subkeys[0].key;
    let signature = DetachedSignature::sign_binary_data(rand::thread_rng(), subkey, &Password::empty(), HashAlgorithm::Sha256, content);
    signature.unwrap().to_bytes().unwrap()
}

fn program() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
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
    key: SignedSecretKey,
    archive: Vec<u8>,
}

impl Vendor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendor = Self {
            server: TestServer::start(),
            store: Store::open(&folder.path().join("store")).unwrap(),
            key: new_key(),
            archive: zip(&[("LICENSE", b"free"), ("consul", &program())]),
            folder,
        };
        fs::write(vendor.folder.path().join("key.asc"), armoured(&vendor.key)).unwrap();
        vendor.publish(&vendor.archive);
        vendor
    }

    /// Puts an archive, its list and the list's signature on the server.
    fn publish(&self, archive: &[u8]) {
        let list = self.list(archive);
        self.server.content("/consul/1.0/sums", list.as_bytes());
        self.server.content("/consul/1.0/sums.sig", &sign(&self.key, HashAlgorithm::Sha256, list.as_bytes()));
        self.server.content("/consul/1.0/consul_1.0.zip", archive);
    }

    fn list(&self, archive: &[u8]) -> String {
        format!("{}  other.zip\n{}  consul_1.0.zip\n", "0".repeat(64), hex::encode(Sha256::digest(archive)))
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
async fn a_signature_by_a_signing_subkey_or_in_armour_counts_too() {
    let vendor = Vendor::new();
    let list = vendor.list(&vendor.archive);
    let by_subkey = sign_by_subkey(&vendor.key, list.as_bytes());
    let signer = signature::verify(list.as_bytes(), &by_subkey, &armoured(&vendor.key)).unwrap();
    assert!(signer.contains("Vendor"), "{signer}");
    let plain = DetachedSignature::from_bytes(&by_subkey[..]).unwrap();
    let armour = plain.to_armored_string(ArmorOptions::default()).unwrap();
    signature::verify(list.as_bytes(), armour.as_bytes(), &armoured(&vendor.key)).unwrap();
    signature::verify(b"another list", armour.as_bytes(), &armoured(&vendor.key)).unwrap_err();
    vendor.server.content("/consul/1.0/sums.sig", &by_subkey);
    vendor.fetch().await.unwrap();
}

#[tokio::test]
async fn a_signature_of_another_key_is_refused() {
    let vendor = Vendor::new();
    let list = vendor.list(&vendor.archive);
    let forged = sign(&new_key(), HashAlgorithm::Sha256, list.as_bytes());
    vendor.server.content("/consul/1.0/sums.sig", &forged);
    let why = vendor.refused().await;
    assert!(why.contains("is not signed by the pinned key"), "{why}");
    assert!(!vendor.server.requests().iter().any(|request| request.contains("zip")), "the archive is not even asked for");
}

#[tokio::test]
async fn a_list_that_was_changed_after_signing_is_refused() {
    let vendor = Vendor::new();
    vendor.server.content("/consul/1.0/sums", vendor.list(b"evil").as_bytes());
    vendor.server.content("/consul/1.0/consul_1.0.zip", b"evil");
    let why = vendor.refused().await;
    assert!(why.contains("is not signed by the pinned key"), "{why}");
}

#[test]
fn weak_hashes_empty_and_garbled_signatures_are_refused() {
    // RSA, because the library refuses to sign a weak hash with a modern key.
    let key = SecretKeyParamsBuilder::default()
        .key_type(KeyType::Rsa(2048))
        .can_sign(true)
        .primary_user_id("Vendor".into())
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap();
    let weak = sign(&key, HashAlgorithm::Sha1, b"list");
    assert!(signature::verify(b"list", &weak, &armoured(&key)).unwrap_err().contains("too weak"));
    assert!(signature::verify(b"list", b"", &armoured(&key)).is_err());
    assert!(signature::verify(b"list", b"garbage", &armoured(&key)).is_err());
    assert!(signature::verify(b"list", &weak, "garbage").unwrap_err().contains("pinned key"));
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
    let list = format!("{}  other.zip\n", "0".repeat(64));
    vendor.server.content("/consul/1.0/sums", list.as_bytes());
    vendor.server.content("/consul/1.0/sums.sig", &sign(&vendor.key, HashAlgorithm::Sha512, list.as_bytes()));
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
    vendor.publish(&zip(&[("../../../consul", b"evil"), ("/tmp/consul", b"evil"), ("../consul", b"evil")]));
    let why = vendor.refused().await;
    assert!(why.contains("does not contain consul"), "{why}");
    assert!(!vendor.folder.path().join("consul").exists());

    // A symlink in place of the program is not followed.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.add_symlink("consul", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
    vendor.publish(&writer.finish().unwrap().into_inner());
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
    fs::write(vendor.folder.path().join("key.asc"), armoured(&new_key())).unwrap();
    assert_eq!(vendor.store.find_artifact(&vendor.artifact(), vendor.folder.path()), None);
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

#[test]
fn the_shipped_key_is_the_vendors_and_can_sign() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/keys/hashicorp.asc")).unwrap();
    // Published by the vendor at hashicorp.com/security.
    let key = <SignedPublicKey as pgp::composed::Deserializable>::from_string(&text).unwrap().0;
    let fingerprint = pgp::types::KeyDetails::fingerprint(&key).to_string().to_uppercase();
    assert_eq!(fingerprint, "C874011F0AB405110D02105534365D9472D7468F");
    assert!(signature::verify(b"", &sign(&new_key(), HashAlgorithm::Sha256, b""), &text).is_err());
    // One of its subkeys encrypts, one expired in 2022, and one signs the vendor's releases.
    let in_2026 = pgp::types::Timestamp::from_secs(1_767_225_600);
    let signs = |subkey| signature::subkey_signs(&key, subkey, in_2026);
    let answers: Vec<_> = key.public_subkeys.iter().map(signs).collect();
    assert!(answers[0].as_ref().unwrap_err().contains("may not sign"), "{answers:?}");
    assert!(answers[1].as_ref().unwrap_err().contains("had expired"), "{answers:?}");
    assert_eq!(answers[2], Ok(()));
    let in_2031 = pgp::types::Timestamp::from_secs(1_924_992_000);
    assert!(signature::subkey_signs(&key, &key.public_subkeys[2], in_2031).is_err());
}
