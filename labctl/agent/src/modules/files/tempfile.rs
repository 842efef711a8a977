//! `tempfile` and `assemble`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::Edit;
use crate::modules::files::ownership::describe;
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["tempfile"],
    params: &[text("state").of(&["file", "directory"]).or("file"), path("path"), text("prefix").or("ansible."), text("suffix").or("")],
    files: false,
    run,
};

pub(crate) const ASSEMBLE: Module = Module {
    names: &["assemble"],
    params: &[
        path("src").must(),
        path("dest").must(),
        text("delimiter"),
        flag("backup"),
        on("remote_src"),
        text("regexp"),
        flag("ignore_hidden"),
        on("decrypt"),
        text("validate"),
    ],
    files: true,
    run: assemble,
};

/// Names are tried until a free one is found; with 64 random bits the first one is.
const TRIES: usize = 16;

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let folder = args.filled("path").unwrap_or("/tmp");
    if task.check {
        return Ok(json!({"changed": true, "path": null, "state": args.str("state")}).into());
    }
    let mut last = None;
    for _ in 0..TRIES {
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
            .attempt("read", "/dev/urandom")?;
        let name = format!("{}{}{}", args.str("prefix"), crate::modules::text::hex(&bytes), args.str("suffix"));
        let path = Path::new(folder).join(name);
        let made = match args.str("state") {
            "directory" => fs::DirBuilder::new().mode(0o700).create(&path),
            _ => fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map(drop),
        };
        match made {
            Ok(()) => {
                let mut result = Map::new();
                result.insert("changed".into(), true.into());
                result.insert("path".into(), path.to_string_lossy().into());
                describe(task.root, &path, &mut result);
                return Ok(result.into());
            }
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => last = Some(err),
            Err(err) => return Err(err).attempt("make", &path),
        }
    }
    Err(format!("no free name in {folder}: {}", last.map_or(String::new(), |err| err.to_string())).into())
}

fn assemble(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let src = args.path("src").unwrap_or_default();
    if !src.is_dir() {
        let why = if src.exists() { "is not a directory" } else { "does not exist" };
        return Err(format!("Source ({}) {why}", src.display()).into());
    }
    let regexp = args.filled("regexp").map(Pattern::new).transpose()?;
    let mut parts: Vec<PathBuf> = fs::read_dir(&src).attempt("list", &src)?.flatten().map(|entry| entry.path()).collect();
    parts.sort();
    let delimiter = args.filled("delimiter").map(|text| text.replace("\\n", "\n"));
    let (mut after, mut between) = (Vec::new(), false);
    for part in parts {
        let name = part.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let wanted = regexp.as_ref().is_none_or(|regexp| regexp.found(&name));
        if !part.is_file() || !wanted || args.flag("ignore_hidden") && name.starts_with('.') {
            continue;
        }
        if between {
            if !after.ends_with(b"\n") {
                after.push(b'\n');
            }
            if let Some(delimiter) = &delimiter {
                after.extend_from_slice(delimiter.as_bytes());
                if !delimiter.ends_with('\n') {
                    after.push(b'\n');
                }
            }
        }
        after.extend(fs::read(&part).attempt("read", &part)?);
        between = true;
    }
    let dest = args.path("dest").unwrap_or_default();
    let before = Edit::read(&dest)?;
    let checksum = crate::modules::files::digest::sums_of(&after).sha1;
    let md5 = crate::modules::files::digest::md5_of(&after);
    let mut result = Edit { path: dest.clone(), before, after, msg: "OK".into() }.finish(task)?;
    result.insert("src".into(), src.to_string_lossy().into());
    result.insert("dest".into(), dest.to_string_lossy().into());
    result.insert("checksum".into(), checksum.into());
    result.insert("md5sum".into(), md5.into());
    describe(task.root, &dest, &mut result);
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn names_are_fresh_and_parts_are_joined() {
        let bench = Bench::new();
        bench.write("parts/1", "a");
        bench.write("parts/2", "b\n");
        let args = json!({"src": bench.text_path("parts"), "dest": bench.text_path("whole"), "delimiter": "--"});
        bench.converges("assemble", args, true);
        assert_eq!(bench.read("whole"), "a\n--\nb\n");
        let made = bench.run("tempfile", json!({"path": bench.text_path("parts"), "suffix": ".x"}));
        assert!(made["path"].as_str().unwrap().ends_with(".x") && made["mode"] == "0600");
    }
}
