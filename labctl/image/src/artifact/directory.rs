//! A program in a local folder, for work without a network. It is checked against a checksum in the declaration or a
//! `SHA256SUMS` file beside the program, and never used unchecked.

use std::fs;
use std::path::PathBuf;

use labctl_spec::artifact::DirectorySource;

use super::error::Failure;
use super::{Wanted, sums};
use crate::checksum;
use crate::store_error::at;

/// Environment variable that names a folder of artifacts.
pub(super) const VARIABLE: &str = "LABCTL_ARTIFACTS";

/// The folder of artifacts from the environment, which takes precedence over vendors' releases; `None` if the variable
/// is not set.
pub fn offline() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder to look in; `None` if none is configured.
pub(super) fn folder(wanted: &Wanted<'_>, source: &DirectorySource) -> Option<PathBuf> {
    match &source.path {
        Some(path) => Some(wanted.base.join(wanted.fill(&path.to_string_lossy()))),
        None => Some(offline()?.join(&wanted.artifact.name).join(&wanted.artifact.version)),
    }
}

pub(super) fn fetch(wanted: &Wanted<'_>, source: &DirectorySource) -> Result<(), Failure> {
    let Some(folder) = folder(wanted, source) else {
        return Err(Failure::Source(format!("the environment variable {VARIABLE} is not set")));
    };
    let name = &wanted.artifact.name;
    let from = folder.join(name);
    let size = match fs::metadata(&from) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(Failure::Source(format!("{} is not a file", from.display()))),
        Err(error) => return Err(Failure::Source(format!("{}: {error}", from.display()))),
    };
    let expected = match &source.sha256 {
        Some(sum) => sum.trim().to_ascii_lowercase(),
        None => {
            let list = folder.join("SHA256SUMS");
            let text = fs::read_to_string(&list)
                .map_err(|error| Failure::Source(format!("nothing to check {} against: {}: {error}", from.display(), list.display())))?;
            sums::find(&text, name).ok_or_else(|| Failure::Source(format!("{} does not list {name}", list.display())))?
        }
    };
    crate::space::require(name, &wanted.to, size)?;
    // Check the copy: the original may change at any time.
    fs::copy(&from, &wanted.to).map_err(at("copy", &from))?;
    let got = checksum::sha256(&wanted.to)?;
    if got != expected {
        return Err(Failure::Source(format!("{} has the wrong checksum: wanted sha256:{expected}, got sha256:{got}", from.display())));
    }
    Ok(())
}
