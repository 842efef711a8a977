//! `unarchive`: unpacks tar and zip files, strictly inside their folder.
//!
//! What was unpacked is recorded (`/var/lib/labctl/unpacked/`), so that a re-run with the same archive compares sizes, times and modes by
//! stat(2) and needs neither the archive nor its transfer.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, list, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::archive_read::{Entry, Unpack};
use crate::modules::files::atomic_write::{Attributes, beside, replace};
use crate::modules::files::content::Content;
use crate::modules::files::digest;
use crate::modules::files::ownership::{FileArgs, describe};
use crate::modules::network::http::Request;

pub(crate) const MODULE: Module = Module {
    names: &["unarchive"],
    params: &[
        text("src").must(),
        path("dest").must(),
        flag("remote_src"),
        on("copy"),
        path("creates"),
        flag("list_files"),
        flag("keep_newer"),
        list("exclude"),
        list("include"),
        list("extra_opts"),
        on("validate_certs"),
        flag("decrypt"),
        path("io_buffer_size"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["include", "exclude"])?;
    let dest = args.path("dest").unwrap_or_default();
    let src = args.str("src");
    let mut result = Map::new();
    result.insert("dest".into(), dest.to_string_lossy().into());
    result.insert("src".into(), src.into());
    if let Some(creates) = args.filled("creates")
        && crate::modules::files::find_glob::any(Path::new(creates))
    {
        result.insert("changed".into(), false.into());
        result.insert("skipped".into(), true.into());
        result.insert("msg".into(), format!("skipped, since {creates} exists").into());
        return Ok(result.into());
    }
    if !dest.is_dir() {
        if task.check {
            return Ok(json!({"changed": true, "dest": dest.to_string_lossy(), "src": src}).into());
        }
        return Err(format!("Destination '{}' is not a directory", dest.display()).into());
    }
    let content = match Content::announced(task)? {
        Some(content) => content,
        None if src.contains("://") => Content::Local(fetch(task, src)?),
        None => Content::Local(PathBuf::from(src)),
    };
    let done = unpack(task, &content, &dest, &mut result);
    if let (Content::Local(file), true) = (&content, src.contains("://")) {
        let _ = fs::remove_file(file);
    }
    let needs = done?;
    if needs {
        return Ok(Done::needs_content());
    }
    describe(task.root, &dest, &mut result);
    Ok(Done::from(result))
}

fn fetch(task: &Task<'_>, url: &str) -> Result<PathBuf, Fault> {
    let folder = task.root.join(format!("{}/spool", labctl_wire::ModuleCall::state_folder()));
    fs::create_dir_all(&folder).attempt("create the folder", &folder)?;
    let file = beside(&folder.join("archive"));
    Request::get(task, url).save(&file)?;
    Ok(file)
}

/// Returns true if the archive must be sent first.
fn unpack(task: &Task<'_>, content: &Content, dest: &Path, result: &mut Map<String, Value>) -> Result<bool, Fault> {
    let files = task.file_args()?;
    let record = match content {
        Content::Spool { sha256, .. } => Some(record_path(task, sha256, dest)),
        _ => None,
    };
    let known = record.as_ref().and_then(|path| read_record(path));
    let archive = match content {
        Content::Spool { path, .. } | Content::Local(path) => path.clone(),
        Content::Bytes(_) => return Err("unarchive takes no content".into()),
    };
    if known.is_none() && !content.here() {
        if task.check {
            result.insert("changed".into(), true.into());
            return Ok(false);
        }
        return Ok(true);
    }
    let wanted =
        Unpack { include: task.args.list("include"), exclude: task.args.list("exclude"), strip: strip(&task.args.list("extra_opts"))? };
    let entries = match known {
        Some(entries) => entries,
        None if !archive.is_file() && task.check => {
            result.insert("changed".into(), true.into());
            return Ok(false);
        }
        None if !archive.is_file() => {
            return Err(format!("Source '{}' does not exist", archive.display()).into());
        }
        None => wanted.list(&archive)?,
    };
    let keep_newer = task.args.flag("keep_newer");
    let stale = entries.iter().any(|entry| !entry.is_at(dest, &files, keep_newer));
    if task.args.flag("list_files") {
        result.insert("files".into(), entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>().into());
    }
    if stale && !task.check {
        if !content.here() {
            return Ok(true);
        }
        let handler = wanted.extract(&archive, dest, keep_newer)?;
        result.insert("handler".into(), handler.into());
    }
    let mut changed = stale;
    if !(stale && task.check) {
        changed |= enforce(&files, &entries, dest, task.check)?;
    }
    if !task.check
        && let Some(record) = &record
    {
        write_record(record, &entries)?;
        content.discard();
    }
    result.insert("changed".into(), changed.into());
    Ok(false)
}

fn enforce(files: &FileArgs, entries: &[Entry], dest: &Path, check: bool) -> Result<bool, Fault> {
    let mut changed = false;
    if files.mode.is_none() && files.owner.is_none() && files.group.is_none() {
        return Ok(false);
    }
    for entry in entries {
        let path = dest.join(&entry.path);
        if path.symlink_metadata().is_ok() {
            changed |= files.enforce(&path, check, &mut json!({}), &mut json!({}))?;
        }
    }
    Ok(changed)
}

/// The number of leading folders that `extra_opts` strips. Options for what is done here anyway are accepted.
fn strip(options: &[String]) -> Result<usize, Fault> {
    let mut strip = 0;
    let mut options = options.iter().flat_map(|option| option.split_whitespace());
    while let Some(option) = options.next() {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        match name {
            "--strip-components" | "--strip" => {
                let value = value.or_else(|| options.next()).unwrap_or_default();
                strip = value.parse().map_err(|_| Fault::from(format!("extra_opts: {name} needs a number, not '{value}'")))?;
            }
            "--overwrite" | "--no-overwrite-dir" | "--same-owner" | "--same-permissions" | "-p" | "--preserve-permissions" | "-o" => {}
            _ => return Err(format!("extra_opts: {option} is not supported; --strip-components is").into()),
        }
    }
    Ok(strip)
}

fn record_path(task: &Task<'_>, sha256: &str, dest: &Path) -> PathBuf {
    let args = &task.args;
    let lists = ["include", "exclude", "extra_opts"].map(|name| args.list(name));
    let key = format!("{}\0{lists:?}", dest.display());
    let key = digest::sums_of(key.as_bytes()).sha256;
    task.root.join(format!("{}/unpacked", labctl_wire::ModuleCall::state_folder())).join(format!("{sha256}-{}", &key[..16]))
}

fn read_record(path: &Path) -> Option<Vec<Entry>> {
    let bytes = fs::read(path).ok()?;
    let list: Vec<(String, String, u64, i64, u32, bool)> = serde_json::from_slice(&bytes).ok()?;
    Some(list.into_iter().map(|(path, link, size, modified, mode, folder)| Entry { path, link, size, modified, mode, folder }).collect())
}

fn write_record(path: &Path, entries: &[Entry]) -> Result<(), Fault> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    let list: Vec<_> = entries.iter().map(|e| (&e.path, &e.link, e.size, e.modified, e.mode, e.folder)).collect();
    let bytes = serde_json::to_vec(&list).map_err(|err| Fault::from(err.to_string()))?;
    replace(path, &bytes, &Attributes { mode: 0o600, uid: None, gid: None }).attempt("write", path)
}

#[cfg(test)]
mod tests {
    use labctl_wire::ModuleCall;

    use super::*;
    use crate::modules::call::testing::Bench;

    fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(gz);
        for (name, body) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(body.len() as u64);
            header.set_mode(0o640);
            header.set_mtime(1_700_000_000);
            header.set_uid(0);
            header.set_gid(0);
            // Raw, because the builder itself refuses the malicious names that the tests need.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, body.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn archives_of_the_guest_converge() {
        let bench = Bench::new();
        bench.write("a.tgz", tar(&[("d/one", "1"), ("two", "22")]));
        fs::create_dir(bench.path("out")).unwrap();
        let args = json!({"src": bench.text_path("a.tgz"), "dest": bench.text_path("out"), "remote_src": true, "owner": "app"});
        bench.converges("unarchive", args.clone(), true);
        assert_eq!((bench.read("out/d/one").as_str(), bench.read("out/two").as_str()), ("1", "22"));
        fs::write(bench.path("out/two"), "xx").unwrap();
        bench.converges("unarchive", args, true);
        assert_eq!(bench.read("out/two"), "22");
    }

    #[test]
    fn archives_of_the_controller_travel_once() {
        let bench = Bench::new();
        let bytes = tar(&[("one", "1"), ("skip.me", "2")]);
        let sha = digest::sums_of(&bytes).sha256;
        fs::create_dir(bench.path("out")).unwrap();
        let args = json!({"src": "a.tgz", "dest": bench.text_path("out"), "exclude": ["*.me"], "_sha256": sha, "_size": bytes.len()});
        assert_eq!(bench.call("unarchive", args.clone(), true).result["changed"], true);
        assert!(bench.call("unarchive", args.clone(), false).needs_content);
        let spool = ModuleCall::spool_path(&sha);
        bench.write(spool.trim_start_matches('/'), &bytes);
        assert_eq!(bench.run("unarchive", args.clone())["changed"], true);
        assert!(bench.exists("out/one") && !bench.exists("out/skip.me") && !bench.exists(spool.trim_start_matches('/')));
        assert_eq!(bench.run("unarchive", args)["changed"], false);
    }

    #[test]
    fn nothing_gets_out() {
        let bench = Bench::new();
        fs::create_dir(bench.path("out")).unwrap();
        bench.write("a.tgz", tar(&[("../evil", "1"), ("/abs-evil", "2")]));
        let args = json!({"src": bench.text_path("a.tgz"), "dest": bench.text_path("out"), "remote_src": true});
        let msg = bench.fault("unarchive", args);
        assert!(msg.contains("outside"), "{msg}");
        assert!(!bench.exists("evil"));
    }

    #[test]
    fn zip_files() {
        use std::io::Write;
        let bench = Bench::new();
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bin/tool", options).unwrap();
        zip.write_all(b"#!").unwrap();
        bench.write("a.zip", zip.finish().unwrap().into_inner());
        fs::create_dir(bench.path("out")).unwrap();
        bench.converges("unarchive", json!({"src": bench.text_path("a.zip"), "dest": bench.text_path("out"), "remote_src": true}), true);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(bench.path("out/bin/tool").metadata().unwrap().mode() & 0o777, 0o755);
    }
}
