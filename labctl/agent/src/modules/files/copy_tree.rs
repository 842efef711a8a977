//! `copy` of a folder within the guest.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::Task;
use crate::modules::files::content::Content;
use crate::modules::files::mode::Mode;
use crate::modules::files::ownership::{FileArgs, describe};

struct Walk<'a> {
    task: &'a Task<'a>,
    files: FileArgs,
    folders: FileArgs,
    changed: bool,
}

/// Copies the folder `src`: its contents if the source was given with a trailing slash, else the folder itself.
pub(crate) fn copy(task: &Task<'_>, src: &Path) -> Outcome {
    let args = &task.args;
    let mut dest = args.path("dest").unwrap_or_default();
    if !args.str("src").ends_with('/')
        && let Some(name) = src.file_name()
    {
        dest.push(name);
    }
    let files = task.file_args()?;
    let mode = match args.get("directory_mode") {
        Some(mode) => Some(Mode::parse(mode).map_err(Fault::from)?),
        None => None,
    };
    let folders = FileArgs { mode, ..files.clone() };
    let mut walk = Walk { task, files, folders, changed: false };
    walk.folder(src, &dest)?;
    let mut result = Map::new();
    result.insert("changed".into(), walk.changed.into());
    result.insert("dest".into(), args.str("dest").into());
    result.insert("src".into(), args.str("src").into());
    describe(task.root, &dest, &mut result);
    Ok(result.into())
}

impl Walk<'_> {
    fn folder(&mut self, src: &Path, dest: &Path) -> Result<(), Fault> {
        let check = self.task.check;
        if !dest.is_dir() {
            self.changed = true;
            if !check {
                fs::create_dir_all(dest).attempt("create the folder", dest)?;
            }
        }
        if dest.is_dir() {
            self.changed |= self.folders.enforce(dest, check, &mut json!({}), &mut json!({}))?;
        }
        let mut names: Vec<PathBuf> =
            fs::read_dir(src).attempt("list", src)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        names.sort();
        for from in names {
            let Some(name) = from.file_name() else {
                continue;
            };
            let to = dest.join(name);
            let meta = fs::symlink_metadata(&from).attempt("inspect", &from)?;
            if meta.is_dir() {
                self.folder(&from, &to)?;
            } else if meta.is_symlink() && !self.task.args.flag("local_follow") {
                self.link(&from, &to)?;
            } else if from.is_file() {
                self.file(&from, &to)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        let target = fs::read_link(from).attempt("read the link", from)?;
        if fs::read_link(to).is_ok_and(|there| there == target) {
            return Ok(());
        }
        self.changed = true;
        if self.task.check {
            return Ok(());
        }
        let temporary = crate::modules::files::atomic_write::beside(to);
        std::os::unix::fs::symlink(&target, &temporary).attempt("link", to)?;
        fs::rename(&temporary, to).attempt("replace", to)
    }

    fn file(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        let content = Content::Local(from.to_owned());
        let check = self.task.check;
        let mut files = self.files.clone();
        if matches!(files.mode, None | Some(Mode::Preserve)) {
            use std::os::unix::fs::MetadataExt;
            let mode = fs::metadata(from).attempt("inspect", from)?.mode() & 0o7777;
            files.mode = (!to.exists() || files.mode.is_some()).then_some(Mode::Bits(mode));
        }
        if to.exists() && (!self.task.args.flag("force") || content.is_at(to).attempt("compare", to)?) {
            self.changed |= files.enforce(to, check, &mut json!({}), &mut json!({}))?;
            return Ok(());
        }
        self.changed = true;
        if check {
            return Ok(());
        }
        let existing = fs::metadata(to).ok();
        content.put(to, &files.resolve(existing.as_ref(), false), false)
    }
}
