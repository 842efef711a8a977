//! `artifact` (labctl's own): a large file, stored by its content hash and linked to its destination.
//!
//! The store `/var/lib/labctl/artifacts/SHA256` holds what arrived and was checked. The destination is a hard link to it; where that is not
//! possible (another file system, or a different owner or mode), it is a copy. Either is read again only if its times show that it may have
//! changed ([`digest`]), so a re-run compares two inodes.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::path;
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, beside, replace_with, replace_with_copy};
use crate::modules::files::content::Content;
use crate::modules::files::digest::{self, Sums};
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
    let whole = |path: &Path, meta: &Metadata| whole(path, meta, &sha256, size);
    let in_store = fs::symlink_metadata(&kept).ok().and_then(|meta| Some((whole(&kept, &meta)?, (meta.dev(), meta.ino()))));
    let there = fs::symlink_metadata(&dest).ok().filter(Metadata::is_file);
    let in_place = there.as_ref().and_then(|there| match &in_store {
        Some((sums, kept)) if *kept == (there.dev(), there.ino()) => Some(sums.clone()),
        _ => whole(&dest, there),
    });
    let mut result = Map::new();
    result.insert("dest".into(), dest.to_string_lossy().into());
    result.insert("sha256".into(), sha256.clone().into());
    if let Some(sums) = in_place {
        let changed = files.enforce(&dest, task.check, &mut json!({}), &mut json!({}))?;
        if changed && !task.check {
            keep_sums(&sums, in_store.is_some().then_some(&kept), &dest);
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
    let sums = match in_store {
        Some((sums, _)) => sums,
        None if spool.is_file() => take_in(&spool, &kept, &sha256, size)?,
        None => return Ok(Done::needs_content()),
    };
    let _ = fs::remove_file(&spool);
    place(&kept, &dest, task)?;
    files.enforce(&dest, false, &mut json!({}), &mut json!({}))?;
    keep_sums(&sums, Some(&kept), &dest);
    describe(task.root, &dest, &mut result);
    Ok(Done::from(result))
}

/// The file's sums if it has this content.
fn whole(path: &Path, meta: &Metadata, sha256: &str, size: u64) -> Option<Sums> {
    let sums = if meta.is_file() && meta.len() == size { digest::sums(path).ok()? } else { return None };
    (sums.sha256 == sha256).then_some(sums)
}

/// A link, an owner or a mode changes a file's times, but not what is in it. `kept` is the stored file, if it was found to be whole.
fn keep_sums(sums: &Sums, kept: Option<&PathBuf>, dest: &Path) {
    if let Some(kept) = kept {
        digest::keep(kept, sums);
    }
    digest::keep(dest, sums);
}

/// Moves what the controller sent into the store, after verifying that it is what was announced.
fn take_in(spool: &Path, kept: &Path, sha256: &str, size: u64) -> Result<Sums, Fault> {
    let sums = digest::sums(spool).attempt("read", spool)?;
    let got = &sums.sha256;
    let length = fs::metadata(spool).attempt("inspect", spool)?.len();
    if got != sha256 || length != size {
        let _ = fs::remove_file(spool);
        return Err(format!("the content sent is {length} bytes with SHA-256 {got}, not {size} bytes with {sha256}").into());
    }
    if let Some(parent) = kept.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    replace_with(kept, spool, &Attributes { mode: 0o755, uid: None, gid: None }).attempt("store", kept)?;
    Ok(sums)
}

/// Links or copies the stored file to `dest`, atomically.
fn place(kept: &Path, dest: &Path, task: &Task<'_>) -> Result<(), Fault> {
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
    replace_with_copy(dest, kept, &Attributes { mode, ..wanted }).attempt("place", dest)
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

    /// A program that was overwritten in place with as many bytes, its times set back: it is installed again.
    #[test]
    fn what_was_tampered_with_is_replaced() {
        let bench = Bench::new();
        let content = "program ".repeat(1 << 18);
        let (sha, size) = send(&bench, &content);
        let args = json!({"dest": bench.text_path("consul"), "_sha256": sha, "_size": size});
        bench.converges("artifact", args.clone(), true);
        let modified = bench.path("consul").metadata().unwrap().modified().unwrap();
        let changed = |name: &str| (bench.path(name).metadata().unwrap().ctime(), bench.path(name).metadata().unwrap().ctime_nsec());
        let before = changed("consul");
        while changed("consul") == before {
            fs::write(bench.path("consul"), content.replace('p', "q")).unwrap();
            fs::File::options().write(true).open(bench.path("consul")).unwrap().set_modified(modified).unwrap();
        }
        assert!(bench.call("artifact", args.clone(), false).needs_content, "the link to the store is no proof");
        send(&bench, &content);
        assert_eq!(bench.run("artifact", args.clone())["changed"], true);
        assert_eq!(bench.read("consul"), content);
        bench.converges("artifact", args, false);
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
