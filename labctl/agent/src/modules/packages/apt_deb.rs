//! `apt` with a `.deb` file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::Task;
use crate::modules::network::http::Request;
use crate::modules::packages::apt_get::{AptGet, PolicyRcD};
use crate::modules::packages::dpkg;

/// Installs the file unless exactly its version is installed.
pub(crate) fn install(task: &Task<'_>, deb: &str, result: &mut Map<String, Value>) -> Result<(), Fault> {
    let fetched = deb.contains("://");
    let path = if fetched { fetch(task, deb)? } else { PathBuf::from(deb) };
    if !path.is_file() {
        if task.check {
            result.insert("changed".into(), true.into());
            return Ok(());
        }
        return Err(format!("Unable to install package: {deb}: no such file").into());
    }
    let done = put(task, &path, result);
    if fetched {
        let _ = std::fs::remove_file(&path);
    }
    done
}

fn put(task: &Task<'_>, path: &Path, result: &mut Map<String, Value>) -> Result<(), Fault> {
    let file = path.to_string_lossy();
    let fields = Spawn::of(task, ["dpkg-deb", "-f", &file, "Package", "Version", "Architecture"]).must()?.out();
    let field = |key: &str| fields.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap_or_default();
    let (name, version) = (field("Package"), field("Version"));
    let database = dpkg::database(task.root);
    if let Some(package) = database.find(name).filter(|package| package.installed()) {
        let order = dpkg::compare(version, &package.version);
        if order.is_eq() {
            return Ok(());
        }
        if order.is_lt() && !task.args.flag("force") && !task.args.flag("allow_downgrade") {
            return Err("A later version is already installed".into());
        }
    }
    if task.check {
        result.insert("changed".into(), true.into());
        return Ok(());
    }
    let absolute = path.canonicalize().attempt("find", path)?;
    let _silence = PolicyRcD::set(task)?;
    let apt = AptGet::new(task, &["install", &absolute.to_string_lossy()]).options();
    apt.option("--allow-downgrades").run()?.report(result);
    Ok(())
}

fn fetch(task: &Task<'_>, url: &str) -> Result<PathBuf, Fault> {
    let name = url.rsplit('/').next().unwrap_or("package.deb");
    let path = task.root.join("/var/cache/apt/archives").join(format!("labctl-{}-{name}", std::process::id()));
    Request::get(task, url).save(&path)?;
    Ok(path)
}
