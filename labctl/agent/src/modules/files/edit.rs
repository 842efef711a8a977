//! A file edited by a module: validated, backed up, written, given owner and mode, reported.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;
use crate::modules::files::content::{Content, back_up};
use crate::modules::files::copy::validate;
use crate::modules::files::file::real_path;
use crate::modules::text::diff;

/// An edit that has been decided but not applied.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) path: PathBuf,
    /// None if there was no file.
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) after: Vec<u8>,
    /// What changed in the contents; empty if nothing.
    pub(crate) msg: String,
}

impl Edit {
    /// The file's bytes; none if there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
        if path.is_dir() {
            let msg = format!("Path {} is a directory !", path.display());
            return Err(Fault::from(msg).with("rc", 256));
        }
        match fs::read(path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(other.attempt("read", path)?)),
        }
    }

    /// Applies the edit (unless in check mode). The result holds `changed`, `msg`, `backup_file` and `diff`.
    pub(crate) fn finish(self, task: &Task<'_>) -> Result<Map<String, Value>, Fault> {
        let Self { path, before, after, mut msg } = self;
        let files = task.file_args()?;
        let shown = path.to_string_lossy().into_owned();
        let content_changed = before.as_deref() != Some(&after[..]);
        let mut result = Map::new();
        let real = if path.is_symlink() { real_path(&path) } else { path.clone() };
        let meta = fs::metadata(&real).ok();
        let (mut attributes_before, mut attributes_after) = (json!({}), json!({}));
        let attributes_changed = match &meta {
            Some(meta) => files.differs(meta, &mut attributes_before, &mut attributes_after),
            None => files.differs_from_new(&mut attributes_before, &mut attributes_after) && !task.check,
        };
        if !task.check && content_changed {
            let content = Content::Bytes(after.clone());
            if let Some(command) = task.args.filled("validate") {
                validate(task, &content, &real, command)?;
            }
            if task.args.flag("backup") && meta.is_some() {
                let backup: Value = back_up(&real)?.to_string_lossy().into();
                result.insert("backup_file".into(), backup.clone());
                result.insert("backup".into(), backup);
            }
            if let Some(parent) = real.parent()
                && !parent.as_os_str().is_empty()
            {
                fs::create_dir_all(parent).attempt("create the folder", parent)?;
            }
            content.put(&real, &files.resolve(meta.as_ref(), false), task.args.flag("unsafe_writes"))?;
        } else if !task.check && attributes_changed {
            files.enforce(&real, false, &mut json!({}), &mut json!({}))?;
        }
        if attributes_changed {
            let joint = if msg.is_empty() { "" } else { " and " };
            msg = format!("{msg}{joint}ownership, perms or SE linux context changed");
        }
        result.insert("changed".into(), (content_changed || attributes_changed).into());
        result.insert("msg".into(), msg.into());
        task.put_diff(&mut result, || {
            let mut contents = diff::contents(&shown, Some(before.as_deref().unwrap_or_default()), Some(&after));
            let mut attributes = json!({"before": attributes_before, "after": attributes_after});
            for (part, what) in [(&mut contents, "content"), (&mut attributes, "file attributes")] {
                part["before_header"] = format!("{shown} ({what})").into();
                part["after_header"] = format!("{shown} ({what})").into();
            }
            json!([contents, attributes])
        });
        Ok(result)
    }
}

/// The result in check mode for a file that an earlier task would have created.
pub(crate) fn absent_in_check(path: &Path) -> Map<String, Value> {
    let mut result = Map::new();
    let warning = format!("{} does not exist yet; an earlier task may create it", path.display());
    result.insert("changed".into(), true.into());
    result.insert("msg".into(), "".into());
    result.insert("warnings".into(), json!([warning]));
    result
}

/// Bytes as lines, including their line ends.
pub(crate) fn lines_of(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}
