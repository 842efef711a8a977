//! `git`: working copies of repositories.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, int, list, on, path, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::{Output, Spawn};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["git"],
    params: &[
        text("repo").must().aka(&["name"]),
        path("dest"),
        text("version").or("HEAD"),
        text("remote").or("origin"),
        text("refspec"),
        path("reference"),
        flag("force"),
        int("depth"),
        on("clone"),
        on("update"),
        flag("verify_commit"),
        list("gpg_allowlist").aka(&["gpg_whitelist"]),
        flag("accept_hostkey"),
        flag("accept_newhostkey"),
        path("key_file"),
        text("ssh_opts"),
        path("executable"),
        flag("bare"),
        on("recursive"),
        flag("single_branch"),
        flag("track_submodules"),
        raw("umask"),
        path("archive"),
        text("archive_prefix"),
        path("separate_git_dir"),
    ],
    files: false,
    run,
};

fn git(task: &Task<'_>, folder: Option<&Path>, words: &[&str]) -> Spawn {
    let args = &task.args;
    let mut argv = vec![args.filled("executable").unwrap_or("git").to_owned()];
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    let mut ssh = String::from("ssh -o BatchMode=yes");
    if let Some(key) = args.filled("key_file") {
        ssh.push_str(&format!(" -i {} -o IdentitiesOnly=yes", crate::modules::text::shell_quote(key)));
    }
    if args.flag("accept_hostkey") {
        ssh.push_str(" -o StrictHostKeyChecking=no");
    } else if args.flag("accept_newhostkey") {
        ssh.push_str(" -o StrictHostKeyChecking=accept-new");
    }
    if let Some(options) = args.filled("ssh_opts") {
        ssh.push_str(&format!(" {options}"));
    }
    let spawn = Spawn::of(task, argv).env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", &ssh);
    match folder {
        Some(folder) => spawn.cwd(folder),
        None => spawn,
    }
}

fn head(dest: &Path, bare: bool) -> Option<String> {
    let mut folder = if bare { dest.to_owned() } else { dest.join(".git") };
    if folder.is_file() {
        let text = fs::read_to_string(&folder).ok()?;
        folder = dest.join(text.trim().strip_prefix("gitdir: ")?);
    }
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned());
    };
    if let Ok(sum) = fs::read_to_string(folder.join(name)) {
        return Some(sum.trim().to_owned());
    }
    let packed = fs::read_to_string(folder.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.split_once(' ').filter(|(_, n)| *n == name).map(|(sum, _)| sum.to_owned()))
}

fn is_sum(version: &str) -> bool {
    version.len() == 40 && version.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit that the version refers to at the remote.
fn remote_sum(task: &Task<'_>, version: &str) -> Result<String, Fault> {
    if is_sum(version) {
        return Ok(version.to_owned());
    }
    let output = git(task, None, &["ls-remote", task.args.str("repo")])
        .must()
        .map_err(|fault| Fault { msg: format!("Could not read the remote: {}", fault.msg), ..fault })?;
    let text = output.out();
    let find = |name: &str| text.lines().find_map(|line| line.split_once('\t').filter(|(_, n)| *n == name).map(|(sum, _)| sum.to_owned()));
    let names = match version {
        "HEAD" => vec!["HEAD".to_owned()],
        _ => vec![format!("refs/heads/{version}"), format!("refs/tags/{version}^{{}}"), format!("refs/tags/{version}"), version.to_owned()],
    };
    names
        .iter()
        .find_map(|name| find(name))
        .ok_or_else(|| format!("Could not determine remote revision for {}: {version}", task.args.str("repo")).into())
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (repo, version, bare) = (args.str("repo"), args.str("version"), args.flag("bare"));
    for word in [repo, version] {
        if word.starts_with('-') {
            return Err(format!("'{word}' is not a repository or version").into());
        }
    }
    let Some(dest) = args.path("dest") else {
        let sum = remote_sum(task, version)?;
        return Ok(json!({"changed": false, "before": null, "after": sum}).into());
    };
    let before = head(&dest, bare);
    let mut result = Map::new();
    result.insert("before".into(), before.clone().map_or(Value::Null, Value::from));
    result.insert("remote_url_changed".into(), false.into());
    if let Some(before) = &before
        && (!args.flag("update") || is_sum(version) && *before == version)
    {
        result.insert("changed".into(), false.into());
        result.insert("after".into(), before.clone().into());
        return Ok(result.into());
    }
    if before.is_none() && !args.flag("clone") {
        result.insert("changed".into(), false.into());
        return Ok(result.into());
    }
    let wanted = remote_sum(task, version)?;
    let dirty =
        before.is_some() && !bare && !git(task, Some(&dest), &["status", "--porcelain", "--untracked-files=no"]).must()?.stdout.is_empty();
    let changed = before.as_ref() != Some(&wanted) || dirty && args.flag("force");
    result.insert("after".into(), wanted.clone().into());
    result.insert("changed".into(), changed.into());
    if task.check || !changed {
        return Ok(result.into());
    }
    if dirty && !args.flag("force") {
        return Err(Fault::from("Local modifications exist in the destination: use force=yes to discard them")
            .with("before", before.unwrap_or_default()));
    }
    fetch(task, &dest, before.is_some(), &wanted)?;
    result.insert("after".into(), head(&dest, bare).map_or(Value::Null, Value::from));
    Ok(Done::from(result))
}

fn fetch(task: &Task<'_>, dest: &Path, exists: bool, wanted: &str) -> Result<(), Fault> {
    let args = &task.args;
    let (version, remote) = (args.str("version"), args.str("remote"));
    let depth = args.int("depth").filter(|depth| *depth > 0).map(|depth| format!("--depth={depth}"));
    if !exists {
        let parent: PathBuf = dest.parent().map_or_else(|| "/".into(), Path::to_owned);
        fs::create_dir_all(&parent).attempt("create the folder", &parent)?;
        let target = dest.to_string_lossy().into_owned();
        let mut words = vec!["clone", "--origin", remote];
        words.extend(depth.as_deref());
        if args.flag("bare") {
            words.push("--bare");
        }
        if args.flag("single_branch") {
            words.push("--single-branch");
        }
        if version != "HEAD" && !is_sum(version) {
            words.extend(["--branch", version]);
        }
        words.extend([args.str("repo"), &target]);
        git(task, None, &words).must()?;
    } else {
        git(task, Some(dest), &["remote", "set-url", remote, args.str("repo")]).must()?;
        let refspec = args
            .filled("refspec")
            .unwrap_or("+refs/heads/*:refs/remotes/origin/*")
            .replace("remotes/origin/", &format!("remotes/{remote}/"));
        let mut words = vec!["fetch", "--tags", "--force"];
        words.extend(depth.as_deref());
        words.extend([remote, &refspec]);
        git(task, Some(dest), &words).must()?;
    }
    if args.flag("bare") {
        return Ok(());
    }
    if exists || is_sum(version) {
        let branch = format!("refs/remotes/{remote}/{version}");
        let is_branch =
            git(task, Some(dest), &["rev-parse", "--verify", "--quiet", &branch]).run().is_ok_and(|output: Output| output.rc == 0);
        if is_branch {
            git(task, Some(dest), &["checkout", "--force", "-B", version, &branch]).must()?;
        } else {
            git(task, Some(dest), &["checkout", "--force", "--detach", wanted]).must()?;
        }
        git(task, Some(dest), &["reset", "--hard", wanted]).must()?;
    }
    if args.flag("recursive") && dest.join(".gitmodules").exists() {
        git(task, Some(dest), &["submodule", "update", "--init", "--recursive", "--force"]).must()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn a_repository_is_cloned_and_follows() {
        let bench = Bench::new();
        let source = bench.path("source");
        let commit = |text: &str| {
            let script = format!(
                "mkdir -p {0}; cd {0}; git init -q -b main .; echo {text} > f; git add f; git -c user.name=x -c user.email=x@x commit -qm {text}",
                source.display()
            );
            let spawn = Spawn { argv: ["sh", "-c", &script].map(str::to_owned).to_vec(), ..Spawn::default() };
            assert_eq!(spawn.run().unwrap().rc, 0);
        };
        commit("one");
        let args = json!({"repo": source.to_string_lossy(), "dest": bench.text_path("out"), "version": "main"});
        bench.converges("git", args.clone(), true);
        assert_eq!(bench.read("out/f"), "one\n");
        commit("two");
        bench.converges("git", args.clone(), true);
        assert_eq!(bench.read("out/f"), "two\n");
        bench.write("out/f", "mine");
        commit("three");
        assert!(bench.fault("git", args).starts_with("Local modifications exist"));
    }
}
