//! Questions to a controller, and their answers in a form that can be compared later.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Entry, Kind, drain};

/// Finds the SHA-256 of the program that a role's artifact resolves to: the role's folder, the artifact's name, and the version if it is not
/// the declared one.
pub type ProgramFn<'a> = dyn Fn(&Path, &str, Option<&str>) -> Option<String> + 'a;

/// A question. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// What is at a path.
    Kind(PathBuf),
    /// The content of a file.
    Content(PathBuf),
    /// The entries of a folder, by name.
    Entries(PathBuf),
    /// Everything at and below a path, with owners, modes and times; `follow`: the targets of links instead of the links.
    Tree { path: PathBuf, follow: bool },
    /// Where a path leads.
    Real(PathBuf),
    /// What a link points to, if it is one.
    Link(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The folder where labctl was started.
    Here,
    /// The program that a role's artifact resolves to; `version` if the task names one.
    Program {
        role: PathBuf,
        name: String,
        #[serde(default)]
        version: Option<String>,
    },
}

impl Question {
    /// Asks again; `program` answers what only the artifact store knows.
    pub(super) fn ask(&self, program: &ProgramFn<'_>) -> String {
        match self {
            Self::Kind(path) => kind_answer(kind(path)),
            Self::Content(path) => measure(path).map_or_else(|why| error_answer(&why), |(sha256, _)| sha256),
            Self::Entries(path) => entries(path).map_or_else(|why| error_answer(&why), |entries| entries_answer(&entries)),
            Self::Tree { path, follow } => tree_answer(path, *follow),
            #[expect(clippy::disallowed_methods, reason = "the seam itself")]
            Self::Real(path) => real_answer(fs::canonicalize(path).ok().as_deref()),
            Self::Link(path) => real_answer(link(path).as_deref()),
            #[expect(clippy::disallowed_methods, reason = "the seam itself")]
            Self::Variable(name) => variable_answer(std::env::var(name).ok().as_deref()),
            #[expect(clippy::disallowed_methods, reason = "the seam itself")]
            Self::Here => path_answer(&std::env::current_dir().unwrap_or_default()),
            Self::Program { role, name, version } => program(role, name, version.as_deref()).unwrap_or_else(|| "nothing".to_owned()),
        }
    }

    /// The subject of the question, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Kind(path)
            | Self::Content(path)
            | Self::Entries(path)
            | Self::Tree { path, .. }
            | Self::Real(path)
            | Self::Link(path) => path.display().to_string(),
            Self::Variable(name) => format!("the environment variable {name}"),
            Self::Here => "the folder where labctl is started".to_owned(),
            Self::Program { role, name, .. } => format!("the program {name} of {}", role.display()),
        }
    }

    /// Whether it can be serialized: JSON cannot hold a path that is not text.
    pub(super) fn is_text(&self) -> bool {
        match self {
            Self::Kind(path)
            | Self::Content(path)
            | Self::Entries(path)
            | Self::Tree { path, .. }
            | Self::Real(path)
            | Self::Link(path) => path.to_str().is_some(),
            Self::Program { role, .. } => role.to_str().is_some(),
            Self::Variable(_) | Self::Here => true,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam itself")]
pub(super) fn kind(path: &Path) -> Kind {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => Kind::File,
        Ok(about) if about.is_dir() => Kind::Folder,
        Ok(_) => Kind::Other,
        Err(_) => Kind::Nothing,
    }
}

pub(super) fn kind_answer(kind: Kind) -> String {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Other => "other",
        Kind::Nothing => "nothing",
    }
    .to_owned()
}

/// SHA-256 (hex) and size of a file.
pub(super) fn measure(path: &Path) -> std::io::Result<(String, u64)> {
    let mut digest = Sha256::new();
    let size = drain(path, |part| digest.update(part))?;
    Ok((hex::encode(digest.finalize()), size))
}

#[expect(clippy::disallowed_methods, reason = "the seam itself")]
pub(super) fn entries(folder: &Path) -> std::io::Result<Vec<Entry>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        out.push(Entry { path: entry.path(), is_folder: entry.file_type()?.is_dir() });
    }
    out.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(out)
}

pub(super) fn entries_answer(entries: &[Entry]) -> String {
    let mut digest = Sha256::new();
    for entry in entries {
        add(&mut digest, entry.path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update([u8::from(entry.is_folder)]);
    }
    hex::encode(digest.finalize())
}

/// The value itself is not stored: it may be a secret.
pub(super) fn variable_answer(value: Option<&str>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| hex::encode(Sha256::digest(value)))
}

pub(super) fn path_answer(path: &Path) -> String {
    hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()))
}

pub(super) fn real_answer(real: Option<&Path>) -> String {
    real.map_or_else(|| "nothing".to_owned(), path_answer)
}

#[expect(clippy::disallowed_methods, reason = "the seam itself")]
pub(super) fn link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

pub(super) fn error_answer(why: &std::io::Error) -> String {
    format!("{:?}", why.kind())
}

/// Folders nested more deeply than this can only be a cycle of links.
const DEEPEST: usize = 100;

pub(super) fn tree_answer(path: &Path, follow: bool) -> String {
    let mut digest = Sha256::new();
    add_tree(&mut digest, path, follow, 0);
    hex::encode(digest.finalize())
}

#[expect(clippy::disallowed_methods, reason = "the seam itself")]
fn add_tree(digest: &mut Sha256, path: &Path, follow: bool, depth: usize) {
    add(digest, path.file_name().unwrap_or_default().as_encoded_bytes());
    let about = match if follow { fs::metadata(path) } else { fs::symlink_metadata(path) } {
        Ok(about) => about,
        Err(why) => return add(digest, error_answer(&why).as_bytes()),
    };
    let words = [about.mode().into(), about.uid().into(), about.gid().into(), about.mtime() as u64, about.mtime_nsec() as u64];
    for word in words {
        digest.update(u64::to_le_bytes(word));
    }
    if about.is_symlink() {
        add(digest, fs::read_link(path).unwrap_or_default().as_os_str().as_encoded_bytes());
    } else if about.is_file() {
        add(digest, measure(path).map_or_else(|why| error_answer(&why), |(sha256, _)| sha256).as_bytes());
    } else if about.is_dir() && depth < DEEPEST {
        match entries(path) {
            Ok(entries) => {
                digest.update((entries.len() as u64).to_le_bytes());
                entries.iter().for_each(|entry| add_tree(digest, &entry.path, follow, depth + 1));
            }
            Err(why) => add(digest, error_answer(&why).as_bytes()),
        }
    }
}

/// Adds bytes with their length, so that different lists of parts never look the same.
fn add(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}
