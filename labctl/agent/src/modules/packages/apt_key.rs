//! `apt_key`: keys for package signatures.

use std::fs;
use std::path::PathBuf;

use serde_json::Map;

use crate::modules::call::arguments::{on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::digest;
use crate::modules::network::http::Request;

pub(crate) const MODULE: Module = Module {
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
    run,
};

/// Keys are stored as files in /etc/apt/trusted.gpg.d (or the given keyring): apt reads them there, and apt-key(8) no longer exists.
fn run(task: &Task<'_>) -> Outcome {
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
        fs::create_dir_all(folder).attempt("create the folder", folder)?;
    }
    replace(&path, &bytes, &Attributes { mode: 0o644, uid: None, gid: None }).attempt("write", &path)?;
    Ok(Done::from(result))
}
