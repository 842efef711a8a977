//! From a file or text to the plain type: read, parse, check the structure, deserialize.

use std::io;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::check;
use crate::mistake::{Mistake, Mistakes};
use crate::report::Report;
use crate::yaml;

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("{}: cannot be read: {}", path.display(), reason(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Its content is wrong: every mistake of the file, in line order.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// Larger than any real labctl file; anything bigger was named by mistake.
const LARGEST: u64 = 16 << 20;

/// The kernel's reason in words, without the error number.
fn reason(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => why.to_string(),
    }
}

/// The file's text.
///
/// # Errors
/// It is not a readable regular file (a folder or a pipe is not), is too large, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Io { path: path.to_owned(), source };
    let refused = |why: &str| failed(io::Error::other(why.to_owned()));
    // Checked before opening: opening a pipe blocks until it has a writer.
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(refused("it is a folder"));
    }
    if !about.is_file() {
        return Err(refused("it is not an ordinary file"));
    }
    if about.len() > LARGEST {
        return Err(refused(&format!("it is {} MiB; labctl reads files of at most {} MiB", about.len() >> 20, LARGEST >> 20)));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        let fault = Mistake {
            file: path.to_owned(),
            line,
            column: 0,
            field: String::new(),
            reason: "the file is not UTF-8 text from this line on".to_owned(),
            hint: Some("save it as UTF-8".to_owned()),
        };
        LoadError::Mistakes(Mistakes(vec![fault]))
    })
}

/// The schema of a plain type.
pub(crate) fn schema_of<T: JsonSchema>() -> Json {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// The plain value of a text and the mistakes of its structure. The value exists even if optional fields are faulty (they are left out), so
/// that the semantic checks find more; [`Report::finish`] ensures that it is not used.
pub(crate) fn plain<T: DeserializeOwned + JsonSchema>(text: &str, file: &Path) -> Result<(Option<T>, Report), Mistakes> {
    let document = yaml::parse(text, file).map_err(|fault| Mistakes(vec![fault]))?;
    let schema = schema_of::<T>();
    if document.empty {
        let fault = document.fault(yaml::Span { line: 1, column: 1 }, "the file is empty", None);
        let known: Vec<&str> = schema["properties"].as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
        let hint = (!known.is_empty()).then(|| format!("allowed keys: {}", check::list(known)));
        return Err(Mistakes(vec![Mistake { hint, ..fault }]));
    }
    let checked = check::check(&schema, &document);
    let mut report = Report::new(document, checked.kept, checked.faults);
    let value = checked.json.and_then(|json| match serde_json::from_value(json) {
        Ok(value) => Some(value),
        Err(error) => {
            // The schema is generated from the same types, so the schema check should have found this first, with its line.
            if report.is_clean() {
                report.add("", error.to_string(), "correct the value");
            }
            None
        }
    });
    Ok((value, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_said_with_the_reason() {
        let folder = std::env::temp_dir().join(format!("labctl-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let large = folder.join("large.yml");
        std::fs::File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        let circle = folder.join("circle.yml");
        let _ = std::os::unix::fs::symlink("circle.yml", &circle);
        for (path, reason) in [
            (folder.clone(), "it is a folder"),
            (folder.join("none.yml"), "it does not exist"),
            ("/dev/zero".into(), "it is not an ordinary file"),
            (circle, "Too many levels of symbolic links"),
            (large, "it is 16 MiB"),
        ] {
            let said = read(&path).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{}: cannot be read: {reason}", path.display())), "{said}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
