//! `copy` and `template`: contents at a path, with owner and mode.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, on, path, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::content::{Content, back_up};
use crate::modules::files::file::real_path;
use crate::modules::files::mode::Mode;
use crate::modules::files::ownership::describe;
use crate::modules::text::diff;
use crate::modules::text::shell_words;

pub(crate) const MODULE: Module = Module {
    names: &["copy", "template"],
    params: &[
        path("dest").must(),
        path("src"),
        text("content"),
        flag("backup"),
        on("force").aka(&["thirsty"]),
        text("validate"),
        raw("directory_mode"),
        flag("remote_src"),
        flag("follow"),
        on("local_follow"),
        text("checksum"),
        on("decrypt"),
        text("block_start_string"),
        text("block_end_string"),
        text("variable_start_string"),
        text("variable_end_string"),
        text("comment_start_string"),
        text("comment_end_string"),
        text("newline_sequence"),
        text("output_encoding"),
        flag("trim_blocks"),
        flag("lstrip_blocks"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    if !args.has("_sha256") {
        args.exclusive(&["content", "src"])?;
    }
    let content = match Content::announced(task)? {
        Some(content) => content,
        None if args.flag("remote_src") => {
            let src = args.path("src").ok_or_else(|| Fault::from("src (or content) is required"))?;
            let source = fs::metadata(&src).map_err(|_| Fault::from(format!("Source {} not found", src.display())))?;
            if source.is_dir() {
                return crate::modules::files::copy_tree::copy(task, &src);
            }
            Content::Local(src)
        }
        None => return Err("src (or content) is required".into()),
    };
    one(task, &content)
}

/// The file's path: inside `dest` if that is a folder or ends with a slash.
fn target(task: &Task<'_>) -> PathBuf {
    let text = task.args.str("dest");
    let dest = PathBuf::from(text);
    let name = task.args.text("_original_basename").map(PathBuf::from).or_else(|| task.args.path("src"));
    match name.as_deref().and_then(Path::file_name) {
        Some(name) if text.ends_with('/') || dest.is_dir() => dest.join(name),
        _ => dest,
    }
}

fn one(task: &Task<'_>, content: &Content) -> Outcome {
    let args = &task.args;
    let mut files = task.file_args()?;
    if files.mode == Some(Mode::Preserve) {
        files.mode = match content {
            Content::Local(src) => {
                use std::os::unix::fs::MetadataExt;
                Some(Mode::Bits(fs::metadata(src).attempt("inspect", src)?.mode() & 0o7777))
            }
            _ => None,
        };
    }
    let named = target(task);
    let shown = named.to_string_lossy().into_owned();
    if args.str("dest").ends_with('/') || args.has("directory_mode") {
        make_parents(task, &named)?;
    }
    if named.is_dir() {
        return Err(format!("can not use content with a dir as dest: {shown}").into());
    }
    // A link is written through: Ansible's temporary file is renamed onto the link's target.
    let link = named.is_symlink();
    let path = if link && args.flag("follow") { real_path(&named) } else { named.clone() };
    let existing = match args.flag("follow") {
        true => fs::metadata(&path).ok(),
        false => fs::symlink_metadata(&path).ok(),
    };
    let exists = existing.is_some();
    if let Some(wanted) = args.filled("checksum")
        && content.here()
    {
        let sum = content.sums().attempt("read", &path)?.sha1;
        if sum != wanted {
            return Err(Fault::from("Copied file does not match the expected checksum. Transfer failed.")
                .with("checksum", sum)
                .with("expected_checksum", wanted));
        }
    }
    let replaces_link = link && !args.flag("follow");
    let same = exists && !replaces_link && content.is_at(&path).attempt("compare", &path)?;
    let keep = exists && !args.flag("force");
    let mut result = Map::new();
    result.insert("dest".into(), shown.clone().into());
    if same || keep {
        let (mut before, mut after) = (json!({"path": shown}), json!({"path": shown}));
        // Looked up before owner and mode, which change the file's times.
        let sums = if same { crate::modules::files::digest::sums(&path).ok() } else { None };
        let changed = files.enforce(&path, task.check, &mut before, &mut after)?;
        result.insert("changed".into(), changed.into());
        result.insert("path".into(), shown.clone().into());
        if let Some(sums) = sums {
            if changed && !task.check {
                crate::modules::files::digest::keep(&path, &sums);
            }
            result.insert("checksum".into(), sums.sha1.into());
        }
        describe(task.root, &path, &mut result);
        task.put_diff(&mut result, || json!({"before": before, "after": after}));
        content.discard();
        return Ok(result.into());
    }
    result.insert("changed".into(), true.into());
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() && !task.check {
        return Err(format!("Destination directory {} does not exist", parent.display()).into());
    }
    task.put_diff(&mut result, || {
        let before = exists.then(|| fs::read(&path).unwrap_or_default());
        match content.here().then(|| content.bytes(diff::LONGEST)).flatten() {
            Some(after) => diff::contents(&shown, before.as_deref(), Some(&after)),
            None => {
                json!({"before_header": shown, "after_header": shown, "src_larger": diff::LONGEST})
            }
        }
    });
    if task.check {
        return Ok(result.into());
    }
    if !content.here() {
        return Ok(Done::needs_content());
    }
    if let Some(command) = args.filled("validate") {
        validate(task, content, &path, command)?;
    }
    if args.flag("backup") && exists {
        result.insert("backup_file".into(), back_up(&path)?.to_string_lossy().into());
    }
    let sums = content.sums().attempt("read", &path)?;
    let md5 = content.bytes(1 << 20).map(|bytes| crate::modules::files::digest::md5_of(&bytes));
    let kept = if replaces_link { None } else { existing.as_ref() };
    content.put(&path, &files.resolve(kept, false), args.flag("unsafe_writes"))?;
    crate::modules::files::digest::keep(&path, &sums);
    result.insert("checksum".into(), sums.sha1.into());
    result.insert("md5sum".into(), md5.map_or(Value::Null, Value::from));
    if let Some(src) = args.text("src") {
        result.insert("src".into(), src.into());
    }
    describe(task.root, &path, &mut result);
    Ok(result.into())
}

/// Creates the missing parent folders of `path`, with `directory_mode`.
fn make_parents(task: &Task<'_>, path: &Path) -> Result<(), Fault> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if parent.is_dir() || task.check {
        return Ok(());
    }
    let mut files = task.file_args()?;
    files.mode = match task.args.get("directory_mode") {
        Some(mode) => Some(Mode::parse(mode).map_err(Fault::from)?),
        None => None,
    };
    let mut made = PathBuf::new();
    for part in parent.components() {
        made.push(part);
        if !made.is_dir() {
            fs::create_dir(&made).attempt("create the folder", &made)?;
            files.enforce(&made, false, &mut json!({}), &mut json!({}))?;
        }
    }
    Ok(())
}

/// Has a program validate the new contents before they are put in place; `%s` is the file.
pub(crate) fn validate(task: &Task<'_>, content: &Content, path: &Path, command: &str) -> Result<(), Fault> {
    if !command.contains("%s") {
        return Err(format!("validate must contain %s: {command}").into());
    }
    let file = content.as_file(path).attempt("write", path)?;
    let words = shell_words(&command.replace("%s", &file.to_string_lossy())).map_err(Fault::from)?;
    let output = Spawn::of(task, words).run();
    if matches!(content, Content::Bytes(_)) {
        let _ = fs::remove_file(&file);
    }
    let output = output.map_err(|err| Fault::from(format!("failed to validate: {command}: {err}")))?;
    if output.rc == 0 {
        return Ok(());
    }
    Err(Fault::from("failed to validate").with("exit_status", output.rc).with("stdout", output.out()).with("stderr", output.err()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use labctl_wire::ModuleCall;

    use super::*;
    use crate::modules::call::testing::Bench;
    use crate::modules::files::digest::sums_of;

    #[test]
    fn contents_owner_and_mode() {
        let bench = Bench::new();
        let args = json!({"content": "hello", "dest": bench.text_path("c"), "mode": "0640", "owner": "app"});
        let result = bench.converges("copy", args, true);
        assert_eq!(result["checksum"], "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
        assert_eq!(result["md5sum"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!((result["mode"].as_str(), result["state"].as_str()), (Some("0640"), Some("file")));
        assert_eq!(result["diff"]["after"], "hello");
        let again = bench.run("copy", json!({"content": "jello", "dest": bench.text_path("c")}));
        assert_eq!((again["mode"].as_str(), again["owner"].as_str()), (Some("0640"), Some("app")));
        assert_eq!(again["diff"]["before"], "hello");
    }

    #[test]
    fn the_spool_is_asked_for_only_when_needed_and_emptied() {
        let bench = Bench::new();
        let sha = sums_of(b"big file").sha256;
        let args = json!({"_sha256": sha, "_size": 8, "dest": bench.text_path("big")});
        assert_eq!(bench.call("copy", args.clone(), true).result["changed"], true);
        assert!(bench.call("copy", args.clone(), false).needs_content);
        assert!(!bench.exists("big"));
        let spool = ModuleCall::spool_path(&sha);
        bench.write(spool.trim_start_matches('/'), "big file");
        assert_eq!(bench.run("copy", args.clone())["changed"], true);
        assert_eq!(bench.read("big"), "big file");
        assert!(!bench.exists(spool.trim_start_matches('/')));
        assert_eq!(bench.run("copy", args)["changed"], false);
    }

    #[test]
    fn a_refused_file_stays_out() {
        let bench = Bench::new();
        bench.write("c", "old");
        let args = json!({"content": "new", "dest": bench.text_path("c"), "validate": "grep -q old %s"});
        assert_eq!(bench.fault("copy", args), "failed to validate");
        assert_eq!(bench.read("c"), "old");
        let args = json!({"content": "very old", "dest": bench.text_path("c"), "validate": "grep -q old %s", "backup": true});
        let result = bench.run("copy", args);
        assert_eq!(fs::read_to_string(result["backup_file"].as_str().unwrap()).unwrap(), "old");
    }

    #[test]
    fn force_and_folders_and_missing_parents() {
        let bench = Bench::new();
        bench.write("c", "old");
        bench.converges("copy", json!({"content": "new", "dest": bench.text_path("c"), "force": false}), false);
        fs::create_dir(bench.path("d")).unwrap();
        bench.run("copy", json!({"content": "x", "dest": bench.text_path("d"), "_original_basename": "n"}));
        assert_eq!(bench.read("d/n"), "x");
        let missing = bench.text_path("no/where");
        let msg = bench.fault("copy", json!({"content": "x", "dest": missing}));
        assert_eq!(msg, format!("Destination directory {} does not exist", bench.text_path("no")));
        assert_eq!(bench.fault("copy", json!({"dest": missing})), "src (or content) is required");
    }

    #[test]
    fn remote_sources_are_copied_with_their_mode() {
        let bench = Bench::new();
        bench.write("src", "x");
        let args = json!({"src": bench.text_path("src"), "dest": bench.text_path("to"), "remote_src": true, "mode": "preserve"});
        bench.converges("copy", args, true);
        bench.write("tree/a/b", "1");
        bench.write("tree/c", "2");
        let args = json!({"src": bench.text_path("tree/"), "dest": bench.text_path("out"), "remote_src": true});
        bench.converges("copy", args, true);
        assert_eq!(bench.read("out/a/b"), "1");
        assert_eq!(bench.path("to").metadata().unwrap().mode() & 0o777, 0o644);
    }
}
