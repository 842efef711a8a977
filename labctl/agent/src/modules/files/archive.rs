//! `archive`: a tar or zip of files and folders, or one compressed file. The wanted contents are compared with those of the existing
//! archive, so that check mode is accurate and an up-to-date archive is not written again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, list, path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::archive_write::{Format, Source, contents, write};
use crate::modules::files::find_glob;
use crate::modules::files::ownership::describe;
use crate::modules::text::glob_matches;

pub(crate) const MODULE: Module = Module {
    names: &["archive"],
    params: &[
        list("path").must(),
        text("format").of(&["bz2", "gz", "tar", "xz", "zip"]).or("gz"),
        path("dest"),
        list("exclude_path").or(""),
        list("exclusion_patterns"),
        flag("force_archive"),
        flag("remove"),
    ],
    files: true,
    run,
};

/// Paths with wildcards expanded, and whether there were any wildcards.
fn expand(paths: &[String]) -> (Vec<String>, bool) {
    let mut globs = false;
    let mut all = Vec::new();
    for path in paths {
        if path.contains(['*', '?']) {
            globs = true;
            all.extend(find_glob::expand(Path::new(path)).iter().map(|path| path.to_string_lossy().into_owned()));
        } else {
            all.push(path.clone());
        }
    }
    (all, globs)
}

/// The folder, with a trailing slash, that contains all paths; names in the archive are relative to it.
fn common_folder(paths: &BTreeSet<String>) -> String {
    let folder = |path: &String| path.rfind('/').map_or(String::new(), |at| path[..=at].to_owned());
    let mut common = paths.first().map(folder).unwrap_or_default();
    for path in paths {
        let same = common.bytes().zip(folder(path).bytes()).take_while(|(a, b)| a == b).count();
        common.truncate(same);
        common.truncate(common.rfind('/').map_or(0, |at| at + 1));
    }
    common
}

/// The wanted contents of the archive, folders before what is in them.
fn sources(task: &Task<'_>, paths: &[&String], root: &str, format: Format) -> Result<Vec<Source>, Fault> {
    let patterns = task.args.list("exclusion_patterns");
    let mut found = Vec::new();
    let mut add = |path: &Path| {
        let full = path.to_string_lossy();
        let name = full.strip_prefix(root).unwrap_or(&full).trim_start_matches('/').to_owned();
        let judged = if format == Format::Zip { &*full } else { name.as_str() };
        if !patterns.iter().any(|pattern| glob_matches(pattern, judged)) {
            found.push(Source { path: path.to_owned(), name });
        }
    };
    for path in paths {
        let path = Path::new(path);
        if !path.is_dir() {
            add(path);
            continue;
        }
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            let listed = fs::read_dir(&folder).attempt("list", &folder)?;
            let mut entries: Vec<PathBuf> = listed.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
            entries.sort();
            for entry in &entries {
                add(entry);
            }
            folders.extend(entries.into_iter().rev().filter(|entry| entry.is_dir() && !entry.is_symlink()));
        }
    }
    Ok(found)
}

fn remove_sources(paths: &BTreeSet<String>) -> Result<(), Fault> {
    for path in paths.iter().map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).attempt("remove", path)?,
            Ok(_) => fs::remove_file(path).attempt("remove", path)?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let format = Format::named(args.str("format"));
    let given = args.list("path");
    let (expanded, globs) = expand(&given);
    let (excluded, _) = expand(&args.list("exclude_path"));
    let paths: BTreeSet<String> = expanded.iter().filter(|path| !excluded.contains(path)).cloned().collect();
    let Some(first) = paths.first() else {
        let extra = json!({"path": given.join(", "), "expanded_paths": expanded.join(", "), "expanded_exclude_paths": excluded.join(", ")});
        return Err(Fault::from("Error, no source paths were found").with_all(extra));
    };
    let root = common_folder(&paths);
    let many = args.flag("force_archive") || globs || Path::new(first).is_dir() || paths.len() > 1;
    let dest = match args.path("dest") {
        Some(dest) => dest,
        None if many => {
            let extra = json!({"dest": null, "path": given.join(", ")});
            return Err(Fault::from("Error, must specify \"dest\" when archiving multiple files or trees").with_all(extra));
        }
        None => PathBuf::from(format!("{first}.{}", args.str("format"))),
    };
    if args.flag("remove") && paths.iter().any(|path| Path::new(path).is_dir() && dest.starts_with(path)) {
        return Err("Error, created archive can not be contained in source paths when remove=true".into());
    }
    let (there, missing): (Vec<&String>, Vec<&String>) = paths.iter().partition(|path| Path::new(path).symlink_metadata().is_ok());
    let archives = many || matches!(format, Format::Tar | Format::Zip);
    let mut archived = Vec::new();
    let mut changed = false;
    let mut state = "absent";
    if there.is_empty() {
        if dest.exists() {
            let name = dest.to_string_lossy().to_lowercase();
            let is_archive = [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".zip"].iter().any(|end| name.ends_with(end));
            state = if is_archive { "archive" } else { "compress" };
        }
    } else {
        let sources = match archives {
            true => sources(task, &there, &root, format)?,
            false => vec![Source { path: PathBuf::from(first), name: String::new() }],
        };
        state = match (archives, missing.is_empty()) {
            (false, _) => "compress",
            (true, true) => "archive",
            (true, false) => "incomplete",
        };
        archived = sources.iter().map(|source| source.path.to_string_lossy().into_owned()).collect();
        let wanted = contents(&sources, format, archives)?;
        changed = !wanted.is_in(&dest, format, archives);
        if changed && !task.check {
            let existing = fs::metadata(&dest).ok();
            let attributes = task.file_args()?.resolve(existing.as_ref(), false);
            write(&sources, &dest, format, archives, &attributes)?;
        }
        if args.flag("remove") {
            changed = true;
            if !task.check {
                remove_sources(&paths)?;
            }
        }
    }
    if dest.exists() {
        changed |= task.file_args()?.enforce(&dest, task.check, &mut json!({}), &mut json!({}))?;
    }
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    result.insert("archived".into(), archived.into());
    result.insert("arcroot".into(), root.into());
    result.insert("missing".into(), missing.into_iter().map(|path| Value::from(path.as_str())).collect());
    result.insert("expanded_paths".into(), expanded.into());
    result.insert("expanded_exclude_paths".into(), excluded.into());
    describe(task.root, &dest, &mut result);
    result.insert("dest".into(), dest.to_string_lossy().into());
    result.insert("dest_state".into(), state.into());
    Ok(result.into())
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
