//! `apt_repository`: package sources in one-line format.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::modules::call::arguments::{int, on, raw, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::replace;
use crate::modules::files::edit::lines_of;
use crate::modules::packages::apt_get::AptGet;

pub(crate) const MODULE: Module = Module {
    names: &["apt_repository"],
    params: &[
        text("repo").must(),
        text("state").of(&["absent", "present"]).or("present"),
        raw("mode"),
        on("update_cache").aka(&["update-cache"]),
        int("update_cache_retries").or("5"),
        int("update_cache_retry_max_delay").or("12"),
        text("filename"),
        on("install_python_apt"),
        on("validate_certs"),
        text("codename"),
    ],
    files: false,
    run,
};

/// A line without its comment and with single spaces.
fn normal(line: &str) -> String {
    line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The default file for a repository: its address with all special characters replaced by underscores.
fn proposed_name(repo: &str) -> String {
    let words: Vec<&str> = repo.split_whitespace().collect();
    let uri = words.iter().position(|word| word.contains("://") || word.starts_with("cdrom:"));
    let rest = uri.map_or(&words[..], |at| &words[at..]);
    let joined = rest.join(" ");
    let joined = joined.split_once("://").map_or(joined.as_str(), |(_, rest)| rest).to_owned();
    let joined = joined.split_once('@').map_or(joined.as_str(), |(_, rest)| rest).to_owned();
    joined
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let repo = normal(args.str("repo"));
    if repo.starts_with("ppa:") {
        return Err("ppa: repositories are not supported by labctl's apt_repository module; give the full line".into());
    }
    if !(repo.starts_with("deb ") || repo.starts_with("deb-src ")) || repo.split(' ').count() < 3 {
        return Err(format!("Invalid repository string: {repo}").into());
    }
    let folder = task.root.join("/etc/apt/sources.list.d");
    let mut files = vec![task.root.join("/etc/apt/sources.list")];
    let listed = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut lists: Vec<PathBuf> = listed.filter(|path| path.extension().is_some_and(|e| e == "list")).collect();
    lists.sort();
    files.extend(lists);
    let holding: Vec<PathBuf> =
        files.into_iter().filter(|file| fs::read_to_string(file).unwrap_or_default().lines().any(|line| normal(line) == repo)).collect();
    let present = args.str("state") == "present";
    let changed = present == holding.is_empty();
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    if changed && !task.check {
        if present {
            let name = args.filled("filename").map_or_else(|| proposed_name(&repo), |name| name.trim_end_matches(".list").to_owned());
            let file = if name.starts_with('/') { PathBuf::from(format!("{name}.list")) } else { folder.join(format!("{name}.list")) };
            fs::create_dir_all(&folder).attempt("create the folder", &folder)?;
            let mut text = fs::read_to_string(&file).unwrap_or_default();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("{repo}\n"));
            let mode = task.file_args()?.resolve(fs::metadata(&file).ok().as_ref(), false);
            replace(&file, text.as_bytes(), &mode).attempt("write", &file)?;
            added.push(file.to_string_lossy().into_owned());
        } else {
            for file in holding {
                let text = fs::read_to_string(&file).attempt("read", &file)?;
                let kept: String = lines_of(&text).into_iter().filter(|line| normal(line) != repo).collect();
                if kept.trim().is_empty() {
                    fs::remove_file(&file).attempt("remove", &file)?;
                } else {
                    let mode = task.file_args()?.resolve(fs::metadata(&file).ok().as_ref(), false);
                    replace(&file, kept.as_bytes(), &mode).attempt("write", &file)?;
                }
                removed.push(file.to_string_lossy().into_owned());
            }
        }
        if args.flag("update_cache") {
            AptGet::new(task, &["update"])
                .run()
                .map_err(|fault| Fault { msg: format!("Failed to update apt cache: {}", fault.msg), ..fault })?;
        }
    }
    let state = args.str("state");
    Ok(json!({"changed": changed, "repo": repo, "state": state, "sources_added": added, "sources_removed": removed}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn lines_of_sources() {
        let bench = Bench::new();
        let repo = "deb [signed-by=/k.asc]  http://deb.example.org/debian bookworm main";
        let args = json!({"repo": repo, "update_cache": false});
        bench.converges("apt_repository", args.clone(), true);
        let file = "etc/apt/sources.list.d/deb.example.org_debian_bookworm_main.list";
        assert_eq!(bench.read(file), "deb [signed-by=/k.asc] http://deb.example.org/debian bookworm main\n");
        bench.converges("apt_repository", json!({"repo": repo, "update_cache": false, "state": "absent"}), true);
        assert!(!bench.exists(file));
        assert!(bench.fault("apt_repository", json!({"repo": "rubbish"})).starts_with("Invalid repository string"));
    }
}
