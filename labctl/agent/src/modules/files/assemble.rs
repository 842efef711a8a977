//! `assemble`: builds a file from the parts in a folder.

use std::fs;
use std::path::PathBuf;

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::Edit;
use crate::modules::files::ownership::describe;
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
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
    run,
};

fn run(task: &Task<'_>) -> Outcome {
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
