//! `openssh_keypair`: key pairs for SSH.

use std::fs;
use std::path::Path;

use serde_json::{Map, json};

use crate::modules::call::arguments::{flag, int, list, path, text};
use crate::modules::call::outcome::{Attempt, Done, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["openssh_keypair"],
    params: &[
        path("path").must(),
        text("type").of(&["dsa", "ecdsa", "ed25519", "rsa", "rsa1"]).or("rsa"),
        int("size"),
        text("comment"),
        text("passphrase"),
        flag("force"),
        text("state").of(&["absent", "present"]).or("present"),
        text("regenerate").or("partial_idempotence"),
        list("backend").or("auto"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    let public = format!("{file}.pub");
    if args.str("state") == "absent" {
        let mut changed = false;
        for file in [file, public.as_str()] {
            if Path::new(file).exists() {
                changed = true;
                if !task.check {
                    fs::remove_file(file).attempt("remove", file)?;
                }
            }
        }
        return Ok(json!({"changed": changed, "filename": file}).into());
    }
    let kind = args.str("type");
    let there = fs::read_to_string(&public).unwrap_or_default();
    let word = there.split(' ').next().unwrap_or_default();
    let matches = Path::new(file).exists() && (word == format!("ssh-{kind}") || kind == "ecdsa" && word.starts_with("ecdsa-"));
    let mut changed = !matches || args.flag("force");
    if changed && !task.check {
        for file in [file, public.as_str()] {
            let _ = fs::remove_file(file);
        }
        let bits = args.int("size").map(|size| size.to_string());
        let mut argv = vec!["ssh-keygen", "-q", "-t", kind, "-N", args.str("passphrase"), "-C", args.str("comment"), "-f", file];
        if let Some(bits) = &bits {
            argv.extend(["-b", bits]);
        }
        Spawn::of(task, argv).must()?;
    } else if let Some(comment) = args.text("comment").filter(|comment| *comment != comment_of(&there)) {
        changed = true;
        if !task.check {
            Spawn::of(task, ["ssh-keygen", "-q", "-c", "-P", args.str("passphrase"), "-C", comment, "-f", file]).must()?;
        }
    }
    if Path::new(file).exists() {
        changed |= task.file_args()?.enforce(Path::new(file), task.check, &mut json!({}), &mut json!({}))?;
    }
    let key = fs::read_to_string(&public).unwrap_or_default();
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    result.insert("filename".into(), file.into());
    result.insert("type".into(), kind.into());
    result.insert("public_key".into(), key.trim().into());
    result.insert("comment".into(), comment_of(&key).into());
    Ok(Done::from(result))
}

/// The text after the key's type and the key.
fn comment_of(key: &str) -> &str {
    key.trim().splitn(3, ' ').nth(2).unwrap_or_default()
}
