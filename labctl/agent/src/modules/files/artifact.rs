//! `artifact` (labctl's own): a large file, stored by its content hash and linked to its destination.
//!
//! The store `/var/lib/labctl/artifacts/SHA256` is filled once and never hashed again: a file that was checked when it arrived is trusted
//! while its size is unchanged. The destination is a hard link to the store, so that a re-run compares two inodes. Across file systems it
//! is a copy, recorded in an index beside the store.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::path;
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, beside, replace, replace_with, replace_with_copy};
use crate::modules::files::content::Content;
use crate::modules::files::digest;
use crate::modules::files::mode::Mode;
use crate::modules::files::ownership::describe;

pub(crate) const MODULE: Module = Module { names: &["artifact"], params: &[path("dest").must()], files: true, run };

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let dest = args.path("dest").unwrap_or_default();
    let Some(Content::Spool { sha256, size, path: spool }) = Content::announced(task)? else {
        return Err("missing required arguments: _sha256, _size".into());
    };
    let mut files = task.file_args()?;
    files.mode.get_or_insert(Mode::Bits(0o755));
    let store = task.root.join(format!("{}/artifacts", labctl_wire::ModuleCall::state_folder()));
    let kept = store.join(&sha256);
    let in_store = fs::metadata(&kept).ok().filter(|meta| meta.len() == size);
    let there = fs::symlink_metadata(&dest).ok().filter(Metadata::is_file);
    let index = store.join(format!("{sha256}.copies"));
    let in_place = there.as_ref().is_some_and(|there| {
        let linked = in_store.as_ref().is_some_and(|kept| (kept.dev(), kept.ino()) == (there.dev(), there.ino()));
        linked || there.len() == size && copied(&index, &dest, there)
    });
    let mut result = Map::new();
    result.insert("dest".into(), dest.to_string_lossy().into());
    result.insert("sha256".into(), sha256.clone().into());
    if in_place {
        let changed = files.enforce(&dest, task.check, &mut json!({}), &mut json!({}))?;
        if changed
            && !task.check
            && let Some(there) = fs::metadata(&dest).ok().filter(|_| index.exists())
        {
            remember(&index, &dest, &there)?;
        }
        result.insert("changed".into(), changed.into());
        describe(task.root, &dest, &mut result);
        return Ok(result.into());
    }
    result.insert("changed".into(), true.into());
    task.put_diff(&mut result, || {
        let before = there.map_or(Value::Null, |there| json!({"size": there.len()}));
        json!({"before": before, "after": {"size": size, "sha256": sha256}})
    });
    if task.check {
        return Ok(result.into());
    }
    if in_store.is_none() {
        if !spool.is_file() {
            return Ok(Done::needs_content());
        }
        take_in(&spool, &kept, &sha256, size)?;
    }
    let _ = fs::remove_file(&spool);
    place(&kept, &dest, &index, task)?;
    files.enforce(&dest, false, &mut json!({}), &mut json!({}))?;
    if let Some(there) = fs::metadata(&dest).ok().filter(|there| there.nlink() == 1) {
        remember(&index, &dest, &there)?;
    }
    describe(task.root, &dest, &mut result);
    Ok(Done::from(result))
}

/// Moves what the controller sent into the store, after verifying that it is what was announced.
fn take_in(spool: &Path, kept: &Path, sha256: &str, size: u64) -> Result<(), Fault> {
    let got = digest::sums(spool).attempt("read", spool)?.sha256;
    let length = fs::metadata(spool).attempt("inspect", spool)?.len();
    if got != sha256 || length != size {
        let _ = fs::remove_file(spool);
        return Err(format!("the content sent is {length} bytes with SHA-256 {got}, not {size} bytes with {sha256}").into());
    }
    if let Some(parent) = kept.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    replace_with(kept, spool, &Attributes { mode: 0o755, uid: None, gid: None }).attempt("store", kept)
}

/// Links or copies the stored file to `dest`, atomically.
fn place(kept: &Path, dest: &Path, index: &Path, task: &Task<'_>) -> Result<(), Fault> {
    let parent = dest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(format!("Destination directory {} does not exist", parent.display()).into());
    }
    let files = task.file_args()?;
    let meta = fs::metadata(kept).attempt("inspect", kept)?;
    // A link shares owner and mode with the store and with every other link, so only requests for the same ones can share it.
    let mode = files.mode.as_ref().map_or(0o755, |mode| mode.resolve(0o755, false));
    let wanted = files.resolve(Some(&meta), false);
    let shares = meta.nlink() == 1 || (meta.mode() & 0o7777 == mode && wanted.uid == Some(meta.uid()) && wanted.gid == Some(meta.gid()));
    if shares {
        let temporary = beside(dest);
        if fs::hard_link(kept, &temporary).is_ok() {
            return fs::rename(&temporary, dest).attempt("place", dest).inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            });
        }
    }
    replace_with_copy(dest, kept, &Attributes { mode, ..wanted }).attempt("place", dest)?;
    remember(index, dest, &fs::metadata(dest).attempt("inspect", dest)?)
}

fn line(dest: &Path, meta: &Metadata) -> String {
    format!("{} {} {} {}.{:09} {}\n", meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), dest.display())
}

/// Whether the index lists this very file as an unchanged copy.
fn copied(index: &Path, dest: &Path, meta: &Metadata) -> bool {
    let wanted = line(dest, meta);
    fs::read_to_string(index).is_ok_and(|text| text.split_inclusive('\n').any(|line| line == wanted))
}

fn remember(index: &Path, dest: &Path, meta: &Metadata) -> Result<(), Fault> {
    let suffix = format!(" {}\n", dest.display());
    let mut text: String =
        fs::read_to_string(index).unwrap_or_default().split_inclusive('\n').filter(|line| !line.ends_with(&suffix)).collect();
    text.push_str(&line(dest, meta));
    let attributes = Attributes { mode: 0o600, uid: None, gid: None };
    replace(&PathBuf::from(index), text.as_bytes(), &attributes).attempt("write", index)
}

#[cfg(test)]
mod tests {
    use labctl_wire::ModuleCall;

    use super::*;
    use crate::modules::call::testing::Bench;

    fn send(bench: &Bench, content: &str) -> (String, u64) {
        let sha = digest::sums_of(content.as_bytes()).sha256;
        bench.write(ModuleCall::spool_path(&sha).trim_start_matches('/'), content);
        (sha, content.len() as u64)
    }

    #[test]
    fn stored_once_linked_everywhere() {
        let bench = Bench::new();
        let (sha, size) = send(&bench, "binary");
        let args = json!({"dest": bench.text_path("consul"), "mode": "0755", "_sha256": sha, "_size": size});
        bench.converges("artifact", args, true);
        let inode = |name: &str| bench.path(name).metadata().unwrap().ino();
        let stored = format!("var/lib/labctl/artifacts/{sha}");
        assert_eq!(inode("consul"), inode(&stored));
        let again = json!({"dest": bench.text_path("other"), "_sha256": sha, "_size": size});
        bench.converges("artifact", again, true);
        let own = json!({"dest": bench.text_path("mine"), "mode": "0700", "owner": "app", "_sha256": sha, "_size": size});
        bench.converges("artifact", own, true);
        assert_ne!(inode("mine"), inode(&stored));
        assert_eq!(bench.path("consul").metadata().unwrap().mode() & 0o777, 0o755);
        assert_eq!(bench.path("mine").metadata().unwrap().uid(), 1000);
    }

    #[test]
    fn content_is_asked_for_and_checked() {
        let bench = Bench::new();
        let sha = digest::sums_of(b"x").sha256;
        let args = json!({"dest": bench.text_path("x"), "_sha256": sha, "_size": 1});
        assert!(bench.call("artifact", args.clone(), false).needs_content);
        bench.write(ModuleCall::spool_path(&sha).trim_start_matches('/'), "y");
        assert!(bench.fault("artifact", args).starts_with("the content sent is 1 bytes"));
        assert!(!bench.exists("x"));
    }
}
