//! A role's artifact file (`roles/ROLE/artifacts.yml`): programs that the role installs, and where to get them.

mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{self, LoadError};
use crate::mistake::Mistakes;

/// An artifact file as written: a list of artifacts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ArtifactFile(pub Vec<Artifact>);

/// Loads a role's artifact file. Paths in the result are absolute.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read, else every fault in it.
pub fn load_artifacts(path: &Path) -> Result<Vec<Artifact>, LoadError> {
    Ok(parse_artifacts(&load::read(path)?, path)?)
}

/// Parses the text of an artifact file. Paths in it are relative to `file`'s folder; `file` itself is not read.
///
/// # Errors
/// Every fault, in line order.
pub fn parse_artifacts(text: &str, file: &Path) -> Result<Vec<Artifact>, Mistakes> {
    let (plain, mut report) = load::plain::<ArtifactFile>(text, file)?;
    let artifacts = plain.map(|plain| validate::artifacts(plain.0, file, &mut report));
    report.finish(artifacts)
}

/// One program and its sources, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// File name of the program.
    pub name: String,
    /// Version: the same from every source.
    pub version: String,
    /// Where it may come from; the first source that answers wins.
    #[schemars(length(min = 1))]
    pub sources: Vec<ArtifactSource>,
}

/// Where an artifact may come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArtifactSource {
    /// A file in a local folder, for working offline: `$LABCTL_ARTIFACTS/NAME/VERSION/NAME` or the given folder.
    Directory(DirectorySource),
    /// The vendor's release: an archive, listed in a SHA256SUMS file whose signature is checked against a pinned key.
    Release(ReleaseSource),
    /// A Go module, built by the host's Go client and checked by Go's checksum database.
    GoModule(GoModuleSource),
    /// A Rust program of this project, built statically by the host's cargo.
    Cargo(CargoSource),
}

/// A local folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectorySource {
    /// The folder, relative to the artifact file. `{name}` and `{version}` are replaced. Default: search the folder in the environment
    /// variable `LABCTL_ARTIFACTS`.
    pub path: Option<PathBuf>,
    /// Expected SHA-256 in hex, if the file is not listed in a `SHA256SUMS` next to it.
    pub sha256: Option<String>,
}

/// A signed release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSource {
    /// Folder of the release, such as `https://releases.hashicorp.com/consul/{version}`; `{name}` and `{version}` are replaced.
    pub base: String,
    /// File name of the archive (zip, tar.gz) or of the bare program, such as `{name}_{version}_linux_amd64.zip`.
    pub archive: String,
    /// File name of the checksum list, such as `{name}_{version}_SHA256SUMS`.
    pub checksums: String,
    /// File name of the list's detached OpenPGP signature, such as `{name}_{version}_SHA256SUMS.sig`.
    pub signature: String,
    /// The vendor's public key, or several (armoured), relative to the artifact file. gpgv verifies the signature with it.
    pub key: PathBuf,
    /// Path of the program inside the archive; default: the artifact's name.
    pub member: Option<String>,
}

/// A Go module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoModuleSource {
    /// Module path, such as `github.com/hashicorp/consul`.
    pub module: String,
    /// Module version, such as `v1.12.9`.
    pub module_version: String,
    /// Package to build; default: the module's root.
    pub package: Option<String>,
    /// `replace` lines of go.mod: path to `path version`.
    #[serde(default)]
    pub replace: BTreeMap<String, String>,
    /// `exclude` lines of go.mod: path to version.
    #[serde(default)]
    pub exclude: BTreeMap<String, String>,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Additional linker flags, such as `-X main.version=1`.
    pub ldflags: Option<String>,
    /// Oldest Go version that can build it, such as `1.20`.
    pub go: Option<String>,
    /// Whether it needs cgo, and therefore a C compiler; default: false.
    #[serde(default)]
    pub cgo: bool,
}

/// A Rust program of this project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CargoSource {
    /// The crate's folder, relative to the artifact file.
    pub path: PathBuf,
}
