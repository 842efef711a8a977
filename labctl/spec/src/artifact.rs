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

impl Artifact {
    /// The same program in another version, from those of its sources that can serve any.
    ///
    /// # Errors
    /// What is wrong with the version, for a message.
    pub fn in_version(&self, version: &str) -> Result<Self, String> {
        if version == self.version {
            return Ok(self.clone());
        }
        if !crate::names::is_stem(version) || !version.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(format!("`{version}` is not a version; write it like `{}`", self.version));
        }
        let sources: Vec<ArtifactSource> = self.sources.iter().filter(|source| source.serves_any_version()).cloned().collect();
        if sources.is_empty() {
            return Err(format!("none of its sources has another version than {}", self.version));
        }
        Ok(Self { name: self.name.clone(), version: version.to_owned(), sources })
    }

    /// Replaces `{name}` and `{version}`.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{name}", &self.name).replace("{version}", &self.version)
    }
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

impl ArtifactSource {
    /// Whether it is written in terms of `{version}`, and so can serve other versions than the declared one. Each is checked in the same
    /// way: by a list beside the file, by a signed list, by Go's checksum database.
    fn serves_any_version(&self) -> bool {
        let has = |text: &str| text.contains("{version}");
        match self {
            Self::Directory(DirectorySource { sha256: Some(_), .. }) | Self::Cargo(_) => false,
            Self::Directory(DirectorySource { path, .. }) => path.as_ref().is_none_or(|path| has(&path.to_string_lossy())),
            Self::Release(release) => has(&release.base) || has(&release.archive),
            Self::GoModule(module) => has(&module.module_version),
        }
    }
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
    /// Module version, such as `v1.12.9`; `{name}` and `{version}` are replaced.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(sources: &str) -> Artifact {
        let text = format!("- {{name: nomad, version: \"1.6.1\", sources: [{sources}]}}\n");
        parse_artifacts(&text, Path::new("/roles/nomad/artifacts.yml")).unwrap().remove(0)
    }

    #[test]
    fn another_version_comes_from_sources_that_are_written_for_any() {
        let go = "go_module: {module: example.com/nomad, module_version: ";
        let several = artifact(&format!("{{directory: {{}}}}, {{{go}v1.6.1}}}}, {{{go}'v{{version}}'}}}}, {{cargo: {{path: x}}}}"));
        let other = several.in_version("1.5.17").unwrap();
        assert_eq!(other.version, "1.5.17");
        assert_eq!(other.sources, [several.sources[0].clone(), several.sources[2].clone()]);
        assert_eq!(several.in_version("1.6.1").unwrap(), several, "the declared version may come from any");
        assert_eq!(other.fill("v{version}"), "v1.5.17");
    }

    #[test]
    fn what_cannot_be_a_version_is_refused() {
        let any = artifact("{directory: {}}");
        for wrong in ["latest", "", "../1.0", "1.0/..", "v1.6.1"] {
            assert_eq!(any.in_version(wrong).unwrap_err(), format!("`{wrong}` is not a version; write it like `1.6.1`"));
        }
        let fixed = artifact("{cargo: {path: x}}");
        assert_eq!(fixed.in_version("2.0").unwrap_err(), "none of its sources has another version than 1.6.1");
    }
}
