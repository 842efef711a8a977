//! Artifacts: programs that roles deliver to guests. Each comes from the first of its sources that works.
//!
//! ```text
//! artifacts/index/KEY.json     the content that an artifact's declaration resolved to
//! artifacts/SHA256/NAME        the content
//! ```
//!
//! KEY is a hash of the declaration, plus the source tree for a crate of this project. Stored content is never fetched
//! or built again. Everything is checked before it is stored: by a checksum from the declaration or from a list beside
//! the file, by a signed list, by Go's checksum database, or because it was built here.

mod archive;
mod cargo_build;
mod directory;
mod elf;
mod error;
mod go_module;
mod go_toolchain;
mod openpgp;
mod release;
mod signature;
mod sums;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use labctl_spec::artifact::{Artifact, ArtifactSource};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use cargo_build::doctor as cargo;
pub use directory::offline;
pub use error::ArtifactError;
pub use go_toolchain::doctor as go;
pub(crate) use signature::GPGV;

use crate::checksum;
use crate::entry::{self, EntryLock};
use crate::files;
use crate::missing::Missing;
use crate::outside::Outside;
use crate::progress::{Event, Progress, off_thread};
use crate::store::Store;
use crate::store_error::{StoreError, at};
use error::Failure;

/// An artifact that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredArtifact {
    /// The program, mode 755; never written to.
    pub path: PathBuf,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it came from, for display.
    pub source: String,
    /// The sources tried before that one, and why each failed.
    pub passed_over: Vec<PassedOver>,
}

/// A source that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The source, for display.
    pub source: String,
    /// Why it failed, in one line.
    pub why: String,
    /// What the host lacks, if that is why.
    pub missing: Option<Missing>,
}

/// An index file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    version: u32,
    name: String,
    sha256: String,
    size: u64,
    source: String,
    passed_over: Vec<PassedOver>,
}

/// Version of [`Entry`].
const VERSION: u32 = 1;

/// What every source gets.
struct Wanted<'a> {
    artifact: &'a Artifact,
    /// Folder of the artifact file.
    base: &'a Path,
    /// Working folder; removed afterwards.
    folder: PathBuf,
    /// Where to put the program.
    to: PathBuf,
    /// Names this artifact's downloads.
    key: String,
    root: &'a Path,
    outside: &'a Outside,
    log: PathBuf,
    lock: EntryLock,
    progress: &'a dyn Progress,
}

impl Wanted<'_> {
    /// Fills in `{name}` and `{version}`.
    fn fill(&self, text: &str) -> String {
        self.artifact.fill(text)
    }
}

impl Store {
    /// The artifact, from the store or else from the first of its sources that works. `base` is the folder of the
    /// artifact file.
    ///
    /// If another process is already fetching it, this waits for that one. Dropping the future does not stop the work.
    ///
    /// # Errors
    /// No source works, the Go toolchain that the last source needs is missing, or the store cannot be used.
    pub async fn artifact(&self, artifact: &Artifact, base: &Path, progress: &dyn Progress) -> Result<StoredArtifact, ArtifactError> {
        if let Some(found) = self.find_artifact(artifact, base) {
            return Ok(found);
        }
        let (store, wanted, base) = (self.clone(), artifact.clone(), base.to_path_buf());
        let made = off_thread(progress, move |progress| store.fetch_artifact(&wanted, &base, progress)).await;
        made.unwrap_or_else(|panic| Err(ArtifactError::Aborted { artifact: artifact.name.clone(), reason: panic.to_string() }))
    }

    /// The artifact, if it is in the store.
    pub fn find_artifact(&self, artifact: &Artifact, base: &Path) -> Option<StoredArtifact> {
        let text = fs::read(self.index(&key(artifact, base))).ok()?;
        let entry: Entry = serde_json::from_slice(&text).ok()?;
        let path = self.content(&entry.sha256).join(&artifact.name);
        let whole = entry.version == VERSION && fs::metadata(&path).ok()?.len() == entry.size;
        whole.then_some(StoredArtifact {
            path,
            sha256: entry.sha256,
            size: entry.size,
            source: entry.source,
            passed_over: entry.passed_over,
        })
    }

    fn index(&self, key: &str) -> PathBuf {
        self.root().join("artifacts/index").join(format!("{key}.json"))
    }

    fn content(&self, sha256: &str) -> PathBuf {
        self.root().join("artifacts").join(sha256)
    }

    fn fetch_artifact(&self, artifact: &Artifact, base: &Path, progress: &dyn Progress) -> Result<StoredArtifact, ArtifactError> {
        check_name(artifact)?;
        entry::sweep(self.root())?;
        let key = key(artifact, base);
        let lock_key = format!("artifact-{key}");
        let lock = EntryLock::take(self.root(), &lock_key, || {
            progress.event(Event::Step(format!("waiting for another labctl that is fetching {}", artifact.name)));
        })?;
        if let Some(found) = self.find_artifact(artifact, base) {
            return Ok(found);
        }
        let folder = entry::build_folder(self.root(), &lock_key, &lock)?;
        let log = self.log(&lock_key);
        files::remove_file(&log)?;
        let wanted = Wanted {
            artifact,
            base,
            to: folder.join(&artifact.name),
            folder,
            key: lock_key,
            root: self.root(),
            outside: self.outside(),
            log,
            lock,
            progress,
        };
        let fetched = try_sources(&wanted).and_then(|(source, passed_over)| {
            self.keep(&wanted, source, passed_over)?;
            Ok(())
        });
        files::remove_folder(&wanted.folder)?;
        fetched?;
        self.find_artifact(artifact, base).ok_or_else(|| {
            ArtifactError::Store(StoreError::Damaged { path: self.index(&key), reason: "a file that was just written is missing".into() })
        })
    }

    /// Moves the program to its content-addressed place and records it in the index.
    fn keep(&self, wanted: &Wanted<'_>, source: String, passed_over: Vec<PassedOver>) -> Result<(), StoreError> {
        fs::set_permissions(&wanted.to, fs::Permissions::from_mode(0o755)).map_err(at("make executable", &wanted.to))?;
        let entry = Entry {
            version: VERSION,
            name: wanted.artifact.name.clone(),
            sha256: checksum::sha256(&wanted.to)?,
            size: fs::metadata(&wanted.to).map_err(at("read", &wanted.to))?.len(),
            source,
            passed_over,
        };
        files::flush(&wanted.to)?;
        let folder = self.content(&entry.sha256);
        files::create_folder(&folder)?;
        files::publish(&wanted.to, &folder.join(&wanted.artifact.name))?;
        let index = self.index(&key(wanted.artifact, wanted.base));
        files::create_folder(&self.root().join("artifacts/index"))?;
        let text =
            serde_json::to_vec_pretty(&entry).map_err(|error| StoreError::Damaged { path: index.clone(), reason: error.to_string() })?;
        files::replace(&index, &text)
    }
}

/// Tries the sources in order; returns the one that worked and the failed ones before it.
fn try_sources(wanted: &Wanted<'_>) -> Result<(String, Vec<PassedOver>), ArtifactError> {
    let mut passed_over = Vec::new();
    for source in &wanted.artifact.sources {
        let words = in_words(wanted, source);
        let answer = match source {
            ArtifactSource::Directory(source) => directory::fetch(wanted, source),
            ArtifactSource::Release(source) => release::fetch(wanted, source),
            ArtifactSource::GoModule(source) => go_module::fetch(wanted, source),
            ArtifactSource::Cargo(source) => cargo_build::fetch(wanted, source),
        };
        let (why, missing) = match answer {
            Ok(()) => return Ok((words, passed_over)),
            Err(Failure::Store(error)) => return Err(error.into()),
            Err(Failure::Missing(missing)) => (missing.to_string(), Some(missing)),
            Err(Failure::Source(why)) => (why, None),
        };
        files::remove_file(&wanted.to)?;
        let why = why.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        wanted.progress.event(Event::Note(format!("{}: skipping {words}: {why}", wanted.artifact.name)));
        passed_over.push(PassedOver { source: words, why, missing });
    }
    Err(ArtifactError::no_source(wanted.artifact, passed_over))
}

fn in_words(wanted: &Wanted<'_>, source: &ArtifactSource) -> String {
    match source {
        ArtifactSource::Directory(source) => match directory::folder(wanted, source) {
            Some(folder) => format!("folder {}", folder.display()),
            None => "the folder LABCTL_ARTIFACTS".to_string(),
        },
        ArtifactSource::Release(source) => format!("release {}", wanted.fill(&source.base)),
        ArtifactSource::GoModule(source) => {
            format!("Go module {}@{}", source.module, wanted.fill(&source.module_version))
        }
        ArtifactSource::Cargo(source) => {
            format!("crate {}", wanted.base.join(&source.path).display())
        }
    }
}

/// The name becomes a file name, and the version a folder name.
fn check_name(artifact: &Artifact) -> Result<(), ArtifactError> {
    for (field, text) in [("name", &artifact.name), ("version", &artifact.version)] {
        let good = !text.is_empty()
            && text.len() <= 100
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
        if !good {
            return Err(ArtifactError::Invalid {
                artifact: artifact.name.clone(),
                reason: format!("{field} `{text}` allows only letters, digits, `.`, `_`, `-`, `+`, and no `.` or `-` at the start"),
            });
        }
    }
    Ok(())
}

/// The declaration without what makes no difference to what is built: whether the version of a Go module is written out, and where the artifact
/// file is. Of files that it names, the content is hashed.
fn settled(artifact: &Artifact) -> Artifact {
    let mut settled = artifact.clone();
    for source in &mut settled.sources {
        match source {
            ArtifactSource::GoModule(module) => module.module_version = artifact.fill(&module.module_version),
            ArtifactSource::Release(release) => release.key = PathBuf::new(),
            ArtifactSource::Cargo(program) => program.path = PathBuf::new(),
            ArtifactSource::Directory(_) => {}
        }
    }
    settled
}

/// Hash of everything that an artifact is made from; 32 hex digits.
fn key(artifact: &Artifact, base: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&settled(artifact)).unwrap_or_default());
    hash.update(std::env::consts::ARCH);
    for source in &artifact.sources {
        match source {
            ArtifactSource::Cargo(source) => hash.update(cargo_build::fingerprint(&base.join(&source.path))),
            // A different pinned key means different trust.
            ArtifactSource::Release(source) => hash.update(fs::read(base.join(&source.key)).unwrap_or_default()),
            ArtifactSource::Directory(_) | ArtifactSource::GoModule(_) => {}
        }
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod build_tests;
#[cfg(test)]
mod tests;
