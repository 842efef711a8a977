//! `apt_repository`, `deb822_repository` and `apt_key`: where packages come from and who signs them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{as_flag, as_text, flag, int, list, on, param_flag, path, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::content::Content;
use crate::modules::files::digest;
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::network::http::Request;
use crate::modules::packages::apt_get::AptGet;

pub(crate) const REPOSITORY: Module = Module {
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
    run: repository,
};

pub(crate) const DEB822: Module = Module {
    names: &["deb822_repository"],
    params: &[
        param_flag("allow_downgrade_to_insecure"),
        param_flag("allow_insecure"),
        param_flag("allow_weak"),
        list("architectures"),
        param_flag("by_hash"),
        param_flag("check_date"),
        param_flag("check_valid_until"),
        list("components"),
        int("date_max_future"),
        param_flag("enabled"),
        list("exclude"),
        list("include"),
        text("inrelease_path"),
        flag("install_python_debian"),
        list("languages"),
        text("name").must(),
        param_flag("pdiffs"),
        text("signed_by"),
        text("state").of(&["absent", "present"]).or("present"),
        list("suites"),
        list("targets"),
        param_flag("trusted"),
        list("types").or("deb"),
        list("uris"),
        raw("mode"),
    ],
    files: false,
    run: deb822,
};

pub(crate) const KEY: Module = Module {
    names: &["apt_key"],
    params: &[
        text("id"),
        text("url"),
        text("data"),
        path("file"),
        path("keyring"),
        on("validate_certs"),
        text("keyserver"),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run: key,
};

/// A line without its comment, its blanks single.
fn normal(line: &str) -> String {
    line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The file that a repository goes to unless the task names one: its address with everything odd made an underscore.
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

fn repository(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let repo = normal(args.str("repo"));
    if repo.starts_with("ppa:") {
        return Err("ppa: repositories are not supported by labctl's apt_repository module; name the full line".into());
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
            fs::create_dir_all(&folder).attempt("make the folder", &folder)?;
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

fn deb822(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("name");
    let slug: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' }).collect();
    let file = task.root.join(format!("/etc/apt/sources.list.d/{slug}.sources"));
    let keyring = |suffix: &str| task.root.join(format!("/etc/apt/keyrings/{slug}.{suffix}"));
    if args.str("state") == "absent" {
        let mut changed = false;
        for path in [file.clone(), keyring("asc"), keyring("gpg")] {
            if path.exists() {
                changed = true;
                if !task.check {
                    fs::remove_file(&path).attempt("remove", &path)?;
                }
            }
        }
        return Ok(json!({"changed": changed, "repo": null, "dest": file.to_string_lossy(), "key_filename": null}).into());
    }
    let mut lines = Vec::new();
    let mut key_file = None;
    let mut changed = false;
    let mut keys: Vec<&str> = DEB822
        .params
        .iter()
        .map(|param| param.name)
        .filter(|key| !matches!(*key, "name" | "state" | "mode" | "install_python_debian"))
        .collect();
    keys.sort_unstable();
    for key in keys {
        let Some(value) = args.get(key) else { continue };
        let value = match value {
            Value::Bool(_) => {
                if as_flag(value) == Some(true) {
                    "yes".to_owned()
                } else {
                    "no".to_owned()
                }
            }
            Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(" "),
            other => as_text(other),
        };
        let value = if key == "signed_by" {
            let (path, new) = signing_key(task, &value, &keyring)?;
            changed |= new;
            key_file.clone_from(&path);
            match path {
                Some(path) => path,
                None => value,
            }
        } else {
            value
        };
        let field = match key {
            "uris" => "URIs".to_owned(),
            "pdiffs" => "PDiffs".to_owned(),
            "inrelease_path" => "InRelease-Path".to_owned(),
            _ => key.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<Vec<_>>().join("-"),
        };
        lines.push(format!("{field}: {value}\n"));
    }
    lines.push(format!("X-Repolib-Name: {name}\n"));
    // In the order of the fields' names, as Ansible writes them.
    lines.sort();
    let before = Edit::read(&file)?;
    let after = lines.concat();
    let mut result = Edit { path: file.clone(), before, after: after.clone().into_bytes(), msg: String::new() }.finish(task)?;
    result.remove("msg");
    changed |= result.get("changed") == Some(&Value::Bool(true));
    result.insert("changed".into(), changed.into());
    result.insert("repo".into(), after.into());
    result.insert("dest".into(), file.to_string_lossy().into());
    result.insert("key_filename".into(), key_file.map_or(Value::Null, Value::from));
    Ok(Done::from(result))
}

/// The file that holds the key, and whether it is new. A key given as an address or as text is kept in /etc/apt/keyrings.
fn signing_key(task: &Task<'_>, value: &str, keyring: &dyn Fn(&str) -> PathBuf) -> Result<(Option<String>, bool), Fault> {
    let bytes = if value.starts_with("http://") || value.starts_with("https://") {
        let existing = ["asc", "gpg"].map(keyring).into_iter().find(|path| path.exists());
        if task.check {
            return Ok((existing.clone().map(|p| p.to_string_lossy().into_owned()), existing.is_none()));
        }
        let mut response = Request::get(task, value).send()?;
        if response.status != 200 {
            return Err(format!("Could not fetch signed_by key: HTTP Error {}: {}", response.status, response.reason).into());
        }
        response.bytes().attempt("read", value)?
    } else if value.contains("-----BEGIN") {
        value.as_bytes().to_vec()
    } else {
        return Ok((None, false));
    };
    let armored = bytes.starts_with(b"-----BEGIN");
    let path = keyring(if armored { "asc" } else { "gpg" });
    let new = !Content::Bytes(bytes.clone()).is_at(&path).attempt("compare", &path)?;
    if new && !task.check {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).attempt("make the folder", folder)?;
        }
        let attributes = Attributes { mode: 0o644, uid: None, gid: None };
        replace(&path, &bytes, &attributes).attempt("write", &path)?;
    }
    Ok((Some(path.to_string_lossy().into_owned()), new))
}

/// Keys are kept as files in /etc/apt/trusted.gpg.d (or the named keyring): apt reads them there, and apt-key(8) is gone.
fn key(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["data", "file", "id", "keyserver", "url"])?;
    let name = args.filled("id").map(str::to_owned).unwrap_or_else(|| {
        let source = args.filled("url").or(args.filled("file")).unwrap_or(args.str("data"));
        digest::sums_of(source.as_bytes()).sha1[..16].to_owned()
    });
    let name: String = name.trim_start_matches("0x").chars().filter(char::is_ascii_alphanumeric).collect();
    let base = match args.filled("keyring") {
        Some(path) => PathBuf::from(path),
        None => task.root.join(format!("/etc/apt/trusted.gpg.d/labctl-{name}.asc")),
    };
    let there = base.exists() || base.with_extension("gpg").exists();
    let mut result = Map::new();
    result.insert("key_id".into(), name.clone().into());
    let present = args.str("state") == "present";
    if args.has("keyserver") && present && !there {
        return Err("keyserver is not supported by labctl's apt_key module; use url or data".into());
    }
    let changed = there != present;
    result.insert("changed".into(), changed.into());
    if !changed || task.check {
        return Ok(result.into());
    }
    if !present {
        for path in [base.clone(), base.with_extension("gpg")] {
            if path.exists() {
                fs::remove_file(&path).attempt("remove", &path)?;
            }
        }
        return Ok(result.into());
    }
    let bytes = match (args.filled("data"), args.filled("file"), args.filled("url")) {
        (Some(data), ..) => data.as_bytes().to_vec(),
        (_, Some(file), _) => fs::read(file).attempt("read", file)?,
        (_, _, Some(url)) => {
            let mut response = Request::get(task, url).send()?;
            if response.status != 200 {
                return Err(format!("Failed to download key at {url}: HTTP Error {}", response.status).into());
            }
            response.bytes().attempt("read", url)?
        }
        _ => return Err("no key is given".into()),
    };
    let path = if bytes.starts_with(b"-----BEGIN") || args.has("keyring") { base } else { base.with_extension("gpg") };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).attempt("make the folder", folder)?;
    }
    replace(&path, &bytes, &Attributes { mode: 0o644, uid: None, gid: None }).attempt("write", &path)?;
    Ok(Done::from(result))
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

    #[test]
    fn sources_in_fields() {
        let bench = Bench::new();
        let args = json!({"name": "My Repo", "uris": "http://x/", "suites": ["a", "b"], "components": "main",
            "signed_by": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "enabled": true});
        let result = bench.converges("deb822_repository", args, true);
        let text = bench.read("etc/apt/sources.list.d/my-repo.sources");
        assert!(text.contains("URIs: http://x/\n") && text.contains("Suites: a b\n") && text.contains("Enabled: yes\n"), "{text}");
        assert!(result["key_filename"].as_str().unwrap().ends_with("/etc/apt/keyrings/my-repo.asc"));
        bench.converges("deb822_repository", json!({"name": "My Repo", "state": "absent"}), true);
        bench.converges("apt_key", json!({"data": "-----BEGIN", "id": "0xABCD"}), true);
        bench.converges("apt_key", json!({"id": "ABCD", "state": "absent"}), true);
    }
}
