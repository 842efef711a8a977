//! `script`: runs a script from the controller and removes it afterwards.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::arguments::{path, text};
use crate::modules::call::become_user;
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, beside, replace_with};
use crate::modules::files::content::Content;
use crate::modules::files::find_glob;
use crate::modules::text::{shell_quote, shell_words};

pub(crate) const MODULE: Module =
    Module { names: &["script"], params: &[path("creates"), path("removes"), path("chdir"), text("executable")], files: false, run };

/// A folder that is removed with its contents on drop.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let skipped = |msg: String| -> Outcome { Ok(json!({"changed": false, "skipped": true, "msg": msg}).into()) };
    let content = Content::announced(task)?.ok_or_else(|| Fault::from("missing required arguments: _sha256, _size"))?;
    let guards = [("creates", true, "exists"), ("removes", false, "does not exist")];
    for (name, there, what) in guards {
        if let Some(pattern) = args.filled(name)
            && find_glob::any(Path::new(pattern)) == there
        {
            return skipped(format!("{pattern} {what}, matching {name} option"));
        }
    }
    let folder = args.filled("chdir").map(Path::new);
    if let Some(folder) = folder.filter(|folder| !folder.is_absolute()) {
        return Err(format!("chdir {} must be an absolute path for a Unix-aware remote node", folder.display()).into());
    }
    if task.check {
        return match args.has("creates") || args.has("removes") {
            true => Ok(json!({"changed": true}).into()),
            false => skipped("Check mode is not supported for this task.".into()),
        };
    }
    let Content::Spool { path: spool, .. } = &content else {
        return Err("script takes no content".into());
    };
    if !content.here() {
        return Ok(Done::needs_content());
    }
    let line = args.str("_raw_params").trim().to_owned();
    let words = shell_words(&line).map_err(Fault::from)?;
    let named = words.first().ok_or_else(|| Fault::from("no script was given"))?;
    let user = match become_user::is_needed(task.root, task.call)? {
        true => task.call.become_user.as_deref().and_then(|name| passwd::user(task.root, name)),
        false => None,
    };
    // A different user cannot access the agent's folder.
    let parent = match &user {
        Some(_) => std::env::temp_dir(),
        None => spool.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let folder_of_script = Folder(beside(&parent.join("script")));
    DirBuilder::new().mode(0o700).create(&folder_of_script.0).attempt("create the folder", &folder_of_script.0)?;
    let script = folder_of_script.0.join(Path::new(named).file_name().unwrap_or_default());
    let ids = user.as_ref().map(|user| (user.uid, user.gid));
    let attributes = Attributes { mode: 0o700, uid: ids.map(|ids| ids.0), gid: ids.map(|ids| ids.1) };
    replace_with(&script, spool, &attributes).attempt("write", &script)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).attempt("change the mode of", &script)?;
    if let Some((uid, gid)) = ids {
        lchown(&folder_of_script.0, Some(uid), Some(gid)).attempt("change the owner of", &folder_of_script.0)?;
    }
    // The rest of the line keeps its quotes.
    let rest = line.find(named.as_str()).map_or("", |at| &line[at + named.len()..]).trim_start_matches(['"', '\'']);
    let executable = args.filled("executable").map(|executable| format!("{executable} ")).unwrap_or_default();
    let command = format!("{executable}{}{rest}", shell_quote(&script.to_string_lossy()));
    let mut spawn = Spawn::of(task, ["/bin/sh", "-c", &command]);
    if let Some(folder) = folder {
        spawn = spawn.cwd(folder);
    }
    if let Some(user) = &user {
        spawn = spawn.by_user(task.root, &user.name)?;
    }
    let output = spawn.run().attempt("run", &script)?;
    let mut result = Map::new();
    result.insert("changed".into(), true.into());
    result.insert("rc".into(), output.rc.into());
    result.insert("stdout".into(), output.out().into());
    result.insert("stderr".into(), output.err().into());
    if output.timed_out {
        return Err(Fault::from("the script exceeded its time limit").with_all(Value::Object(result)));
    }
    match output.rc {
        0 => Ok(result.into()),
        _ => Err(Fault::from("non-zero return code").with_all(Value::Object(result))),
    }
}

#[cfg(test)]
mod tests {
    use labctl_wire::ModuleCall;

    use super::*;
    use crate::modules::call::testing::Bench;
    use crate::modules::files::digest::sums_of;

    #[test]
    fn scripts_run_and_leave_nothing() {
        let bench = Bench::new();
        let text = "#!/bin/sh\necho \"ran $1\"\nexit ${2:-0}\n";
        let sha = sums_of(text.as_bytes()).sha256;
        let spool = ModuleCall::spool_path(&sha);
        let args = |rest: &str| json!({"_raw_params": format!("dir/s.sh {rest}"), "_sha256": sha, "_size": text.len()});
        assert!(bench.call("script", args("x"), false).needs_content);
        bench.write(spool.trim_start_matches('/'), text);
        assert_eq!(bench.run("script", args("'a b'"))["stdout"], "ran a b\n");
        assert_eq!(fs::read_dir(bench.path("var/lib/labctl/spool")).unwrap().count(), 0);
        bench.write(spool.trim_start_matches('/'), text);
        let failed = bench.call("script", args("x 3"), false).result;
        assert_eq!((&failed["rc"], &failed["msg"]), (&json!(3), &json!("non-zero return code")));
        assert_eq!(bench.call("script", args("x"), true).result["skipped"], true);
        let guarded = json!({"_raw_params": "s.sh", "_sha256": sha, "_size": 1, "creates": bench.text_path("etc/passwd")});
        assert_eq!(bench.run("script", guarded)["skipped"], true);
    }
}
