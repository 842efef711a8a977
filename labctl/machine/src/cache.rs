//! Small files with facts about the host: complete or absent, and created again if they cannot be read.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::MachineError;

/// The cached value, if it can be read.
pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Replaces the cached value.
pub(crate) fn write(file: &Path, value: &impl Serialize) -> Result<(), MachineError> {
    let text = serde_json::to_vec_pretty(value).unwrap_or_default();
    let written = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new("."))).and_then(|mut new| {
        new.write_all(&text)?;
        new.persist(file).map(drop).map_err(|why| why.error)
    });
    written.map_err(MachineError::io(file.display().to_string()))
}
