//! `synchronize`, one side of it: the controller asks both sides for their contents, compares, and sends the differences in one piece.
//!
//! ```text
//! list   the contents of a folder
//! pack   combines files into one, in the requested order
//! drop   deletes a pack that is no longer needed
//! apply  deletions, folders, links, files from a pack, and other differences
//! ```

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::modules::accounts::passwd;
use crate::modules::call::arguments::path;
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, beside, replace_from};
use crate::modules::files::content::Content;
use crate::modules::files::digest;
use crate::modules::text::hex;
use crate::modules::text::lossless::{decode, encode};

pub(crate) const MODULE: Module = Module { names: &["synchronize"], params: &[path("path").must()], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    let base = task.args.path("path").unwrap_or_default();
    match task.args.str("_op") {
        "list" => list(task, &base),
        "pack" => pack(task, &base),
        "drop" => {
            let _ = fs::remove_file(base);
            Ok(Done::default())
        }
        "apply" => apply(task, &base),
        _ => Err("synchronize is run by the controller; its agent got an unknown request".into()),
    }
}

/// A path from the controller, which must stay below the folder.
fn inside(base: &Path, relative: &str) -> Result<PathBuf, Fault> {
    let relative = bytes_path(relative);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("the path '{}' leads outside of {}", relative.display(), base.display()).into());
    }
    Ok(if relative.as_os_str().is_empty() { base.to_owned() } else { base.join(relative) })
}

fn bytes_path(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(encode(text)))
}

fn path_text(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    decode(path.as_os_str().as_bytes())
}

struct Listing<'a> {
    task: &'a Task<'a>,
    base: &'a Path,
    follow: bool,
    sums: bool,
    recursive: bool,
    entries: Vec<Value>,
}

fn list(task: &Task<'_>, base: &Path) -> Outcome {
    let args = &task.args;
    let mut listing = Listing {
        task,
        base,
        follow: args.flag("_follow"),
        sums: args.flag("_checksum"),
        recursive: args.maybe("_recursive").unwrap_or(true),
        entries: Vec::new(),
    };
    for root in args.list("_roots") {
        // The folder itself may be given as a link.
        listing.add(&root, root.is_empty())?;
    }
    for one in args.list("_paths") {
        listing.one(&one)?;
    }
    let ids = |names: Vec<String>, id: &dyn Fn(&str) -> Option<u32>| -> Map<String, Value> {
        names.into_iter().filter_map(|name| id(&name).map(|id| (name, id.into()))).collect()
    };
    let users = ids(args.list("_users"), &|name| passwd::user(task.root, name).map(|user| user.uid));
    let groups = ids(args.list("_groups"), &|name| passwd::group(task.root, name).map(|group| group.gid));
    Ok(json!({
        "entries": listing.entries,
        "folder": base.is_dir(),
        "exists": base.exists(),
        "root": rustix::process::geteuid().is_root(),
        "users": users,
        "groups": groups,
    })
    .into())
}

impl Listing<'_> {
    fn look(&self, relative: &str, follow: bool) -> Result<Option<(PathBuf, Metadata)>, Fault> {
        let path = inside(self.base, relative)?;
        let meta = if follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        match meta {
            Ok(meta) => Ok(Some((path, meta))),
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(err) => Err(err).attempt("inspect", &path),
        }
    }

    fn one(&mut self, relative: &str) -> Result<Option<(PathBuf, bool)>, Fault> {
        self.put(relative, self.follow)
    }

    fn put(&mut self, relative: &str, follow: bool) -> Result<Option<(PathBuf, bool)>, Fault> {
        let Some((path, meta)) = self.look(relative, follow)? else {
            return Ok(None);
        };
        let kind = if meta.is_symlink() {
            "l"
        } else if meta.is_dir() {
            "d"
        } else if meta.is_file() {
            "f"
        } else {
            "s"
        };
        let mut entry = json!({
            "p": relative, "k": kind, "m": meta.mode() & 0o7777, "s": meta.len(), "u": meta.uid(), "g": meta.gid(),
            "t": i128::from(meta.mtime()).saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec().into()) as i64,
        });
        if let Some(name) = passwd::user_name(self.task.root, meta.uid()) {
            entry["un"] = name.into();
        }
        if let Some(name) = passwd::group_name(self.task.root, meta.gid()) {
            entry["gn"] = name.into();
        }
        if kind == "l" {
            entry["l"] = path_text(&fs::read_link(&path).attempt("read the link", &path)?).into();
        }
        if kind == "f" && self.sums {
            entry["h"] = digest::sums(&path).attempt("read", &path)?.sha256.into();
        }
        self.entries.push(entry);
        Ok(Some((path, kind == "d")))
    }

    /// Adds an entry and everything below it, sorted.
    fn add(&mut self, relative: &str, named: bool) -> Result<(), Fault> {
        let mut waiting = vec![(relative.to_owned(), named || self.follow, 0)];
        while let Some((relative, follow, depth)) = waiting.pop() {
            let Some((path, true)) = self.put(&relative, follow)? else { continue };
            // A link that leads upwards would never end.
            if depth > 128 || !self.recursive && depth > 0 {
                continue;
            }
            let mut names: Vec<String> = fs::read_dir(&path)
                .attempt("list", &path)?
                .map(|entry| entry.map(|entry| path_text(Path::new(&entry.file_name()))))
                .collect::<Result<_, _>>()
                .attempt("list", &path)?;
            names.sort();
            let join = |name: &String| if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            waiting.extend(names.iter().rev().map(|name| (join(name), self.follow, depth + 1)));
        }
        Ok(())
    }
}

/// Combines files. The pack is readable only by this user.
fn pack(task: &Task<'_>, base: &Path) -> Outcome {
    let folder = task.root.join(format!("{}/spool", labctl_wire::ModuleCall::state_folder()));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).attempt("create the folder", &folder)?;
    let target = beside(&folder.join("pack"));
    let packed = write_pack(task, base, &target);
    if packed.is_err() {
        let _ = fs::remove_file(&target);
    }
    packed
}

fn write_pack(task: &Task<'_>, base: &Path, target: &Path) -> Outcome {
    let mut output = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).attempt("write", target)?;
    let (mut sum, mut sizes, mut all) = (Sha256::new(), Vec::new(), 0u64);
    let mut block = vec![0; 256 << 10];
    for relative in task.args.list("_paths") {
        let path = inside(base, &relative)?;
        let mut input = File::open(&path).attempt("open", &path)?;
        let mut size = 0u64;
        loop {
            let length = input.read(&mut block).attempt("read", &path)?;
            if length == 0 {
                break;
            }
            sum.update(&block[..length]);
            io::Write::write_all(&mut output, &block[..length]).attempt("write", target)?;
            size += length as u64;
        }
        sizes.push(size);
        all += size;
    }
    Ok(json!({"pack": target.to_string_lossy(), "sha256": hex(&sum.finalize()), "size": all, "sizes": sizes}).into())
}

fn apply(task: &Task<'_>, base: &Path) -> Outcome {
    let mut pack = None;
    if let Some(content) = Content::announced(task)? {
        if !content.here() {
            return Ok(Done::needs_content());
        }
        if let Content::Spool { path, .. } = &content {
            pack = Some(File::open(path).attempt("open", path)?);
        }
        let done = steps(task, base, pack);
        content.discard();
        return done;
    }
    steps(task, base, pack)
}

fn steps(task: &Task<'_>, base: &Path, mut pack: Option<File>) -> Outcome {
    let Some(Value::Array(steps)) = task.args.get("_steps") else {
        return Err("missing required arguments: _steps".into());
    };
    if task.args.flag("_make_base") {
        fs::create_dir_all(base).attempt("create the folder", base)?;
    }
    for step in steps {
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| step.get(key).and_then(Value::as_u64);
        let path = inside(base, text("p"))?;
        no_link_above(base, &path)?;
        let id = |key: &str| number(key).and_then(|id| u32::try_from(id).ok());
        let mode = id("m");
        let modified = step.get("t").and_then(Value::as_i64);
        match text("do") {
            "delete" => remove(&path).attempt("delete", &path)?,
            "folder" => match fs::create_dir(&path) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.attempt("create the folder", &path)?,
            },
            "link" => {
                let temporary = beside(&path);
                std::os::unix::fs::symlink(bytes_path(text("l")), &temporary).attempt("create the link", &path)?;
                fs::rename(&temporary, &path).attempt("create the link", &path).inspect_err(|_| {
                    let _ = fs::remove_file(&temporary);
                })?;
                settle(&path, None, id("u"), id("g"), modified)?;
            }
            "file" => {
                let pack = pack.as_mut().ok_or_else(|| Fault::from("contents are missing"))?;
                pack.seek(SeekFrom::Start(number("at").unwrap_or(0))).attempt("read the contents of", &path)?;
                let size = number("n").unwrap_or(0);
                let old = fs::symlink_metadata(&path).ok().filter(Metadata::is_file);
                let attributes = Attributes {
                    mode: mode.or(old.as_ref().map(|old| old.mode() & 0o7777)).unwrap_or(0o644),
                    uid: id("u").or(old.as_ref().map(Metadata::uid)),
                    gid: id("g").or(old.as_ref().map(Metadata::gid)),
                };
                let time = modified.map(time_of);
                replace_from(&path, &mut pack.take(size), size, &attributes, time).attempt("write", &path)?;
            }
            _ => settle(&path, mode, id("u"), id("g"), modified)?,
        }
    }
    Ok(json!({"changed": !steps.is_empty()}).into())
}

/// The path through which an entry is written must not contain a link that leads elsewhere.
fn no_link_above(base: &Path, path: &Path) -> Result<(), Fault> {
    let Ok(relative) = path.strip_prefix(base) else { return Ok(()) };
    let mut above = base.to_owned();
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            break;
        }
        above.push(part);
        if above.is_symlink() {
            return Err(format!("the link {} is in the way of {}", above.display(), path.display()).into());
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    }
}

fn time_of(nanoseconds: i64) -> Timespec {
    Timespec { tv_sec: nanoseconds.div_euclid(1_000_000_000), tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as _ }
}

fn settle(path: &Path, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>, modified: Option<i64>) -> Result<(), Fault> {
    if uid.is_some() || gid.is_some() {
        lchown(path, uid, gid).attempt("change the owner of", path)?;
    }
    if let Some(mode) = mode
        && !path.is_symlink()
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).attempt("change the mode of", path)?;
    }
    if let Some(modified) = modified {
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time_of(modified) };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).attempt("set the times of", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use labctl_wire::ModuleCall;

    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn what_is_listed_and_packed_can_be_applied() {
        let bench = Bench::new();
        bench.write("src/a/one", "1");
        bench.write("src/two", "22");
        std::os::unix::fs::symlink("two", bench.path("src/link")).unwrap();
        let listed = bench.run("synchronize", json!({"path": bench.text_path("src"), "_op": "list", "_roots": [""], "_checksum": true}));
        let paths: Vec<&str> = listed["entries"].as_array().unwrap().iter().map(|entry| entry["p"].as_str().unwrap()).collect();
        assert_eq!(paths, ["", "a", "a/one", "link", "two"]);
        assert_eq!((&listed["entries"][3]["l"], &listed["entries"][4]["s"]), (&json!("two"), &json!(2)));
        let packed = bench.run("synchronize", json!({"path": bench.text_path("src"), "_op": "pack", "_paths": ["a/one", "two"]}));
        assert_eq!(packed["sizes"], json!([1, 2]));
        let sha = packed["sha256"].as_str().unwrap();
        bench.write(ModuleCall::spool_path(sha).trim_start_matches('/'), fs::read(packed["pack"].as_str().unwrap()).unwrap());
        bench.write("dest/old/x", "");
        let steps = json!([
            {"do": "delete", "p": "old"},
            {"do": "folder", "p": "a"},
            {"do": "file", "p": "a/one", "at": 0, "n": 1, "m": 0o600, "t": 1_700_000_000_123_456_789i64},
            {"do": "file", "p": "two", "at": 1, "n": 2},
            {"do": "link", "p": "link", "l": "two"},
            {"do": "settle", "p": "a", "m": 0o711},
        ]);
        bench.run("synchronize", json!({"path": bench.text_path("dest"), "_op": "apply", "_steps": steps, "_sha256": sha, "_size": 3}));
        assert_eq!((bench.read("dest/a/one"), bench.read("dest/link")), ("1".into(), "22".into()));
        let meta = fs::metadata(bench.path("dest/a/one")).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.mtime(), meta.mtime_nsec()), (0o600, 1_700_000_000, 123_456_789));
        assert!(!bench.exists("dest/old") && fs::metadata(bench.path("dest/a")).unwrap().mode() & 0o777 == 0o711);
    }

    #[test]
    fn nothing_is_written_outside() {
        let bench = Bench::new();
        bench.write("dest/x", "");
        std::os::unix::fs::symlink(bench.path("etc"), bench.path("dest/out")).unwrap();
        for (path, why) in [("../evil", "outside"), ("/evil", "outside"), ("out/evil", "in the way")] {
            let args = json!({"path": bench.text_path("dest"), "_op": "apply", "_steps": [{"do": "folder", "p": path}]});
            let said = bench.fault("synchronize", args);
            assert!(said.contains(why), "{path}: {said}");
        }
        assert!(!bench.exists("etc/evil") && !bench.exists("evil"));
    }
}
