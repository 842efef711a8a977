//! `deb822_repository`: package sources in deb822 format.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::modules::call::arguments::{as_flag, as_text, flag, int, list, param_flag, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::content::Content;
use crate::modules::files::edit::Edit;
use crate::modules::network::http::Request;

pub(crate) const MODULE: Module = Module {
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
    run,
};

fn run(task: &Task<'_>) -> Outcome {
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
    let mut fields = Vec::new();
    let mut key_file = None;
    let mut changed = false;
    let mut keys: Vec<&str> = MODULE
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
            _ => key.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<Vec<_>>().join("-"),
        };
        let line = if value.contains('\n') { format!("{field}:\n{}", folded(&value)) } else { format!("{field}: {value}\n") };
        fields.push((key, line));
    }
    fields.push(("name", format!("X-Repolib-Name: {name}\n")));
    // In the order of the parameters' names, as Ansible writes them.
    fields.sort();
    let lines: Vec<String> = fields.into_iter().map(|(_, line)| line).collect();
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

/// The lines of a multi-line field: indented, with a dot for an empty line.
fn folded(value: &str) -> String {
    let lines = value.trim().lines().map(|line| if line.trim().is_empty() { "." } else { line.trim() });
    lines.map(|line| format!("    {line}\n")).collect()
}

/// The file with the key, and whether it is new. A key given as a URL or as text is stored in /etc/apt/keyrings.
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
    } else {
        // A file, a fingerprint, or the key itself, which is part of the field.
        return Ok((None, false));
    };
    let armored = bytes.starts_with(b"-----BEGIN");
    let path = keyring(if armored { "asc" } else { "gpg" });
    let new = !Content::Bytes(bytes.clone()).is_at(&path).attempt("compare", &path)?;
    if new && !task.check {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).attempt("create the folder", folder)?;
        }
        let attributes = Attributes { mode: 0o644, uid: None, gid: None };
        replace(&path, &bytes, &attributes).attempt("write", &path)?;
    }
    Ok((Some(path.to_string_lossy().into_owned()), new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn sources_in_fields() {
        let bench = Bench::new();
        let args = json!({"name": "My Repo", "uris": "http://x/", "suites": ["a", "b"], "components": "main",
            "signed_by": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n", "enabled": true});
        let result = bench.converges("deb822_repository", args, true);
        let text = bench.read("etc/apt/sources.list.d/my-repo.sources");
        assert!(text.contains("URIs: http://x/\n") && text.contains("Suites: a b\n") && text.contains("Enabled: yes\n"), "{text}");
        assert!(text.contains("Signed-By:\n    -----BEGIN PGP PUBLIC KEY BLOCK-----\n    .\n    mDME\n"), "{text}");
        assert!(result["key_filename"].is_null());
        bench.converges("deb822_repository", json!({"name": "My Repo", "state": "absent"}), true);
        bench.converges("apt_key", json!({"data": "-----BEGIN", "id": "0xABCD"}), true);
        bench.converges("apt_key", json!({"id": "ABCD", "state": "absent"}), true);
    }
}
