//! `stat`: information about a file.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::root::Root;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::digest;
use crate::modules::files::mode::octal;
use crate::modules::system::clock::float;

pub(crate) const MODULE: Module = Module {
    names: &["stat"],
    params: &[
        path("path").must().aka(&["dest", "name"]),
        flag("follow"),
        on("get_checksum"),
        on("get_mime").aka(&["mime", "mime_type", "mime-type"]),
        on("get_attributes").aka(&["attr", "attributes"]),
        flag("get_md5"),
        flag("get_selinux_context"),
        text("checksum_algorithm")
            .aka(&["checksum", "checksum_algo"])
            .of(&["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
            .or("sha1"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let path = args.path("path").unwrap_or_default();
    let meta = if args.flag("follow") { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
    let meta = match meta {
        Err(err) if matches!(err.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(json!({"changed": false, "stat": {"exists": false}}).into());
        }
        other => other.attempt("inspect", &path)?,
    };
    let mut stat = facts(&path, &meta);
    stat.insert("exists".into(), true.into());
    names(task.root, &meta, &mut stat);
    for (key, mode) in [("readable", libc::R_OK), ("writeable", libc::W_OK), ("executable", libc::X_OK)] {
        stat.insert(key.into(), allowed(&path, mode).into());
    }
    if meta.is_symlink() {
        let target = fs::read_link(&path).attempt("read the link", &path)?;
        let source = fs::canonicalize(&path).unwrap_or_else(|_| crate::modules::files::file::real_path(&path));
        stat.insert("lnk_source".into(), source.to_string_lossy().into());
        stat.insert("lnk_target".into(), target.to_string_lossy().into());
    }
    if meta.is_file() && args.flag("get_checksum") {
        let sum = digest::by_name(&path, args.str("checksum_algorithm")).and_then(Result::ok);
        stat.insert("checksum".into(), sum.map_or(Value::Null, Value::from));
    }
    if args.flag("get_mime") {
        let (mime, charset) = mime(&path, &meta);
        stat.insert("mimetype".into(), mime.into());
        stat.insert("charset".into(), charset.into());
    }
    if args.flag("get_attributes") && (meta.is_file() || meta.is_dir()) {
        crate::modules::files::file_flags::describe(&path, &mut stat);
    }
    Ok(json!({"changed": false, "stat": stat}).into())
}

/// The facts that `stat` and `find` both return about a file.
pub(crate) fn facts(path: &Path, meta: &Metadata) -> Map<String, Value> {
    let mode = meta.mode();
    let kind = meta.file_type();
    let mut facts = Map::new();
    let mut put = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    put("path", path.to_string_lossy().into());
    put("mode", octal(mode).into());
    put("isdir", kind.is_dir().into());
    put("ischr", kind.is_char_device().into());
    put("isblk", kind.is_block_device().into());
    put("isreg", kind.is_file().into());
    put("isfifo", kind.is_fifo().into());
    put("islnk", kind.is_symlink().into());
    put("issock", kind.is_socket().into());
    put("uid", meta.uid().into());
    put("gid", meta.gid().into());
    put("size", meta.size().into());
    put("inode", meta.ino().into());
    put("dev", meta.dev().into());
    put("nlink", meta.nlink().into());
    put("atime", float(meta.atime(), meta.atime_nsec()).into());
    put("mtime", float(meta.mtime(), meta.mtime_nsec()).into());
    put("ctime", float(meta.ctime(), meta.ctime_nsec()).into());
    put("blocks", meta.blocks().into());
    put("block_size", meta.blksize().into());
    put("device_type", meta.rdev().into());
    let bits = [
        ("wusr", 0o200),
        ("rusr", 0o400),
        ("xusr", 0o100),
        ("wgrp", 0o020),
        ("rgrp", 0o040),
        ("xgrp", 0o010),
        ("woth", 0o002),
        ("roth", 0o004),
        ("xoth", 0o001),
        ("isuid", 0o4000),
        ("isgid", 0o2000),
    ];
    for (key, bit) in bits {
        put(key, (mode & bit != 0).into());
    }
    facts
}

/// `pw_name` and `gr_name`.
pub(crate) fn names(root: &Root, meta: &Metadata, facts: &mut Map<String, Value>) {
    if let Some(name) = passwd::user_name(root, meta.uid()) {
        facts.insert("pw_name".into(), name.into());
    }
    if let Some(name) = passwd::group_name(root, meta.gid()) {
        facts.insert("gr_name".into(), name.into());
    }
}

fn allowed(path: &Path, mode: libc::c_int) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the path ends with a zero byte.
    unsafe { libc::access(path.as_ptr(), mode) == 0 }
}

/// A guess at type and charset from the first bytes, using the names of file(1).
fn mime(path: &Path, meta: &Metadata) -> (&'static str, &'static str) {
    use std::io::Read;
    if meta.is_dir() {
        return ("inode/directory", "binary");
    }
    if meta.is_symlink() {
        return ("inode/symlink", "binary");
    }
    if meta.file_type().is_char_device() {
        return ("inode/chardevice", "binary");
    }
    if meta.file_type().is_block_device() {
        return ("inode/blockdevice", "binary");
    }
    if meta.file_type().is_fifo() {
        return ("inode/fifo", "binary");
    }
    if meta.file_type().is_socket() {
        return ("inode/socket", "binary");
    }
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    if read.is_err() {
        return ("unknown", "unknown");
    }
    const KNOWN: [(&[u8], &str); 10] = [
        (b"\x7fELF", "application/x-executable"),
        (b"\x1f\x8b", "application/gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"\xfd7zXZ\0", "application/x-xz"),
        (b"BZh", "application/x-bzip2"),
        (b"\x28\xb5\x2f\xfd", "application/zstd"),
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"%PDF", "application/pdf"),
        (b"!<arch>\ndebian", "application/vnd.debian.binary-package"),
    ];
    if head.is_empty() {
        return ("inode/x-empty", "binary");
    }
    if let Some((_, mime)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (mime, "binary");
    }
    let text = if head.starts_with(b"#!") && head.windows(2).take(40).any(|w| w == b"sh") { "text/x-shellscript" } else { "text/plain" };
    match std::str::from_utf8(&head) {
        _ if head.contains(&0) => ("application/octet-stream", "binary"),
        Ok(all) if all.is_ascii() => (text, "us-ascii"),
        Ok(_) => (text, "utf-8"),
        // The limit may cut the last character.
        Err(err) if err.valid_up_to() + 4 > head.len() => (text, "utf-8"),
        Err(_) => (text, "iso-8859-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn files_links_and_nothing() {
        let bench = Bench::new();
        bench.write("f", "hello");
        std::os::unix::fs::symlink("f", bench.path("l")).unwrap();
        let stat = &bench.run("stat", json!({"path": bench.text_path("f")}))["stat"];
        assert_eq!(stat["checksum"], "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
        assert_eq!((stat["mode"].as_str(), stat["isreg"].as_bool()), (Some("0644"), Some(true)));
        assert_eq!((stat["mimetype"].as_str(), stat["charset"].as_str()), (Some("text/plain"), Some("us-ascii")));
        assert_eq!(stat["pw_name"], "root");
        let link = &bench.run("stat", json!({"path": bench.text_path("l")}))["stat"];
        assert_eq!((link["islnk"].as_bool(), link["lnk_target"].as_str()), (Some(true), Some("f")));
        let args = json!({"path": bench.text_path("l"), "follow": true, "checksum_algorithm": "md5"});
        assert_eq!(bench.run("stat", args)["stat"]["checksum"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(bench.run("stat", json!({"path": bench.text_path("x")}))["stat"], json!({"exists": false}));
    }
}
