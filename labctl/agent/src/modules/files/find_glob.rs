//! Paths with wildcards.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::modules::text::glob_matches;

/// All existing paths that match, sorted (Python's `glob.glob`).
pub(crate) fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            for path in &mut found {
                path.push(part);
            }
            continue;
        };
        let text = name.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(name);
            }
            continue;
        }
        found = found.iter().flat_map(|folder| matching(folder, &text)).collect();
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    found.sort();
    found
}

fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(listed) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            (pattern.starts_with('.') || !name.starts_with('.')) && glob_matches(pattern, &name)
        })
        .map(|entry| folder.join(entry.file_name()))
        .collect()
}

/// Whether anything matches.
pub(crate) fn any(pattern: &Path) -> bool {
    !expand(pattern).is_empty()
}
