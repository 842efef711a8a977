//! `timezone`.

use std::fs;

use serde_json::json;

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::beside;
use crate::modules::files::edit::Edit;

pub(crate) const MODULE: Module =
    Module { names: &["timezone"], params: &[text("name"), text("hwclock").aka(&["rtc"])], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    task.args.one_of(&["hwclock", "name"])?;
    let Some(name) = task.args.filled("name") else {
        return Err("hwclock is not supported by labctl's timezone module: guests have no clock of their own to set".into());
    };
    let zone = format!("/usr/share/zoneinfo/{name}");
    if name.starts_with('/') || name.contains("..") || !task.root.join(&zone).is_file() {
        return Err(format!("given timezone \"{name}\" is not available").into());
    }
    let link = task.root.join("/etc/localtime");
    let target = fs::read_link(&link).unwrap_or_default();
    let before = target.to_string_lossy().split_once("zoneinfo/").map_or(String::new(), |(_, name)| name.to_owned());
    let file = task.root.join("/etc/timezone");
    let text = Edit::read(&file)?;
    let stale = text.as_deref().is_some_and(|text| String::from_utf8_lossy(text).trim() != name);
    let changed = before != name || stale;
    if changed && !task.check {
        if before != name {
            let temporary = beside(&link);
            std::os::unix::fs::symlink(&zone, &temporary).attempt("link", &link)?;
            fs::rename(&temporary, &link).attempt("replace", &link)?;
        }
        Edit { path: file, before: text, after: format!("{name}\n").into_bytes(), msg: String::new() }.finish(task)?;
    }
    let mut result = json!({"changed": changed});
    if task.diff {
        result["diff"] = json!({"before": {"name": before}, "after": {"name": name}});
    }
    Ok(result.into())
}
