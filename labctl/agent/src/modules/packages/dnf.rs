//! `dnf` (and `yum`): packages of Fedora and its derivatives. One call of rpm(8) shows what is installed; dnf(8) does the rest.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{Arguments, flag, int, list, on, param_flag, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::spawn::{Output, Spawn};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["dnf"],
    params: &[
        list("name").aka(&["pkg"]),
        text("state").of(&["absent", "installed", "latest", "present", "removed"]),
        text("list"),
        flag("allow_downgrade"),
        flag("allowerasing"),
        flag("autoremove"),
        param_flag("best"),
        param_flag("nobest"),
        flag("bugfix"),
        flag("cacheonly"),
        text("conf_file"),
        text("disable_excludes"),
        flag("disable_gpg_check"),
        list("disable_plugin"),
        list("disablerepo"),
        flag("download_only"),
        text("download_dir"),
        list("enable_plugin"),
        list("enablerepo"),
        list("exclude"),
        text("installroot").or("/"),
        on("install_repoquery"),
        on("install_weak_deps"),
        text("releasever"),
        flag("security"),
        flag("skip_broken"),
        flag("update_cache").aka(&["expire-cache"]),
        flag("update_only"),
        on("validate_certs"),
        on("sslverify"),
        int("lock_timeout").or("30"),
        text("use_backend"),
    ],
    files: false,
    run,
};

/// Options of dnf(8) for the task's arguments.
fn options(args: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    for (name, word) in [
        ("allowerasing", "--allowerasing"),
        ("best", "--best"),
        ("nobest", "--nobest"),
        ("bugfix", "--bugfix"),
        ("cacheonly", "--cacheonly"),
        ("disable_gpg_check", "--nogpgcheck"),
        ("download_only", "--downloadonly"),
        ("security", "--security"),
        ("skip_broken", "--skip-broken"),
    ] {
        words.extend(args.flag(name).then(|| word.to_owned()));
    }
    for (name, option) in
        [("conf_file", "config"), ("disable_excludes", "disableexcludes"), ("download_dir", "downloaddir"), ("releasever", "releasever")]
    {
        words.extend(args.filled(name).map(|value| format!("--{option}={value}")));
    }
    for (name, option) in [
        ("disable_plugin", "disableplugin"),
        ("enable_plugin", "enableplugin"),
        ("disablerepo", "disablerepo"),
        ("enablerepo", "enablerepo"),
        ("exclude", "exclude"),
    ] {
        words.extend(args.list(name).iter().map(|value| format!("--{option}={value}")));
    }
    words.extend((!args.flag("install_weak_deps")).then(|| "--setopt=install_weak_deps=False".to_owned()));
    words.extend((!args.flag("sslverify") || !args.flag("validate_certs")).then(|| "--setopt=sslverify=0".to_owned()));
    words.extend(args.filled("installroot").filter(|root| *root != "/").map(|root| format!("--installroot={root}")));
    words
}

/// Runs dnf; check mode only asks what it would do.
fn dnf(task: &Task<'_>, verb: &[&str], names: &[String]) -> Result<Output, Fault> {
    let mut argv = vec!["dnf".to_owned()];
    argv.push(if task.check { "--assumeno" } else { "--assumeyes" }.to_owned());
    argv.extend(options(&task.args));
    argv.extend(verb.iter().map(|word| (*word).to_owned()));
    argv.extend_from_slice(names);
    Spawn::of(task, argv).env("LC_ALL", "C").run().map_err(|err| format!("could not run dnf: {err}").into())
}

/// Which of the names are installed: by name (with version or architecture), else by a package that provides it.
fn installed(task: &Task<'_>, names: &[String]) -> Result<HashSet<String>, Fault> {
    let mut found = HashSet::new();
    for option in [None, Some("--whatprovides")] {
        let left: Vec<&String> = names.iter().filter(|name| !found.contains(*name)).collect();
        if left.is_empty() {
            break;
        }
        let mut argv = vec!["rpm".to_owned(), "-q".to_owned(), "--queryformat".to_owned(), "%{NAME}\\n".to_owned()];
        argv.extend(task.args.filled("installroot").filter(|root| *root != "/").map(|root| format!("--root={root}")));
        argv.extend(option.map(str::to_owned));
        argv.push("--".to_owned());
        argv.extend(left.iter().map(|name| (*name).clone()));
        let output = Spawn::of(task, argv).env("LC_ALL", "C").run().map_err(|err| Fault::from(format!("could not run rpm: {err}")))?;
        let out = output.out();
        let missing: HashSet<&str> = out.lines().filter_map(missing_name).collect();
        if missing.is_empty() && output.rc != 0 {
            return Err(Fault::from(format!("rpm failed: {}", output.err().trim())).with("rc", output.rc));
        }
        found.extend(left.into_iter().filter(|name| !missing.contains(name.as_str())).cloned());
    }
    Ok(found)
}

/// The name in `package NAME is not installed`, `no package provides NAME` or `file NAME: No such file or directory`.
fn missing_name(line: &str) -> Option<&str> {
    let by_name = || line.strip_prefix("package ")?.strip_suffix(" is not installed");
    let by_file = || line.split_once("file ")?.1.strip_suffix(": No such file or directory");
    by_name().or_else(|| line.strip_prefix("no package provides ")).or_else(by_file)
}

/// Groups, modules, files, URLs and wildcards: only dnf can resolve them.
fn is_special(name: &str) -> bool {
    name.starts_with('@') || name.ends_with(".rpm") || name.contains("://") || name.contains(['*', '?', '[', '<', '>', '='])
}

/// What dnf reports as done, such as `Installed: nginx-1.24.0-1.x86_64`.
fn results(out: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut what = None;
    for line in out.lines() {
        if let Some(title) =
            ["Installed:", "Upgraded:", "Removed:", "Downgraded:", "Reinstalled:"].iter().find(|title| line.starts_with(**title))
        {
            what = Some(*title);
            continue;
        }
        match (what, line.starts_with(' ')) {
            (Some(what), true) => all.extend(line.split_whitespace().map(|package| format!("{what} {package}"))),
            _ => what = None,
        }
    }
    all
}

/// Evaluates a run of dnf: returns whether it changed (or would change) something.
fn judge(task: &Task<'_>, output: &Output) -> Result<bool, Fault> {
    let (out, err) = (output.out(), output.err());
    if out.lines().any(|line| line.starts_with("Nothing to do") || line.starts_with("No packages marked for")) {
        // Unknown names must not look like success.
        if output.rc == 0 {
            return Ok(false);
        }
    }
    // With --assumeno, dnf shows the transaction and exits with 1.
    let would = task.check && (out.contains("Operation aborted") || err.contains("Operation aborted"));
    if output.rc == 0 || would {
        return Ok(true);
    }
    let unknown: Vec<String> = out
        .lines()
        .chain(err.lines())
        .filter_map(|line| line.split_once("No match for argument: ").map(|(_, name)| format!("No package {} available.", name.trim())))
        .collect();
    let fault = match unknown.is_empty() {
        false => Fault::from("Failed to install some of the specified packages").with("failures", unknown),
        true => Fault::from(format!("dnf failed: {}", if err.trim().is_empty() { out.trim() } else { err.trim() })),
    };
    Err(fault.with("rc", output.rc).with("stdout", out).with("stderr", err).with("results", json!([])))
}

/// Runs dnf for the given names; does nothing if there are none.
fn act(task: &Task<'_>, verb: &[&str], names: &[String], all: &mut Vec<String>) -> Result<bool, Fault> {
    if names.is_empty() {
        return Ok(false);
    }
    let output = dnf(task, verb, names)?;
    let changed = judge(task, &output)?;
    all.extend(results(&output.out()));
    Ok(changed)
}

fn ensure(task: &Task<'_>, names: &[String], all: &mut Vec<String>) -> Result<bool, Fault> {
    let args = &task.args;
    let absent = matches!(args.text("state"), Some("absent" | "removed")) || !args.has("state") && args.flag("autoremove");
    let (special, plain): (Vec<String>, Vec<String>) = names.iter().cloned().partition(|name| is_special(name));
    if absent && special.iter().any(|name| name.ends_with(".rpm")) {
        return Err("Cannot remove paths -- please specify package name.".into());
    }
    let there = installed(task, &plain)?;
    let (have, missing): (Vec<String>, Vec<String>) = plain.into_iter().partition(|name| there.contains(name));
    if absent {
        let verb: &[&str] = if args.flag("autoremove") { &["autoremove"] } else { &["remove"] };
        return act(task, verb, &[have, special].concat(), all);
    }
    let everything = special.iter().any(|name| name == "*");
    if args.text("state") == Some("latest") && everything {
        let output = dnf(task, &["upgrade"], &[])?;
        all.extend(results(&output.out()));
        return judge(task, &output);
    }
    let mut changed = false;
    if args.text("state") == Some("latest") {
        changed |= act(task, &["upgrade"], &have, all)?;
    }
    let install = if args.flag("update_only") { special } else { [missing, special].concat() };
    let verb: &[&str] = if args.flag("update_only") { &["upgrade"] } else { &["install"] };
    changed |= act(task, verb, &install, all)?;
    Ok(changed)
}

/// `list`: installed, available or newer packages, or the existing repositories.
fn listed(task: &Task<'_>, what: &str) -> Outcome {
    const FORMAT: &str = "%{NAME}|%{ARCH}|%{EPOCH}|%{RELEASE}|%{VERSION}|";
    if what == "repos" || what == "repositories" {
        let out = dnf(task, &["repolist", "--enabled"], &[])?.out();
        let repos = out.lines().skip_while(|line| !line.starts_with("repo id")).skip(1);
        let repos: Vec<Value> =
            repos.filter_map(|line| line.split_whitespace().next()).map(|id| json!({"repoid": id, "state": "enabled"})).collect();
        return Ok(json!({"changed": false, "msg": "", "results": repos}).into());
    }
    let state = if what == "installed" { "installed" } else { "available" };
    let lower = FORMAT.to_lowercase();
    let output = match what {
        "installed" => Spawn::of(task, ["rpm", "-qa", "--queryformat", &format!("{FORMAT}@System\\n")]).env("LC_ALL", "C").must()?,
        _ => {
            let format = format!("--queryformat={lower}%{{repoid}}\\n");
            let names = if matches!(what, "available" | "updates" | "upgrades") { vec![] } else { vec![what.to_owned()] };
            let which = if matches!(what, "updates" | "upgrades") { "--upgrades" } else { "--available" };
            dnf(task, &["repoquery", "--quiet", which, &format], &names)?
        }
    };
    let package = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        let [name, arch, epoch, release, version, repo] = fields[..] else { return None };
        let epoch = if epoch == "(none)" { "0" } else { epoch };
        let envra = format!("{epoch}:{name}-{version}-{release}.{arch}");
        Some(json!({
            "name": name, "arch": arch, "epoch": epoch, "release": release, "version": version, "repo": repo,
            "envra": envra, "nevra": envra, "yumstate": state,
        }))
    };
    let packages: Vec<Value> = output.out().lines().filter_map(package).collect();
    Ok(json!({"changed": false, "msg": "", "results": packages}).into())
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["name", "list", "update_cache", "autoremove"])?;
    args.exclusive(&["name", "list"])?;
    args.exclusive(&["best", "nobest"])?;
    if let Some(what) = args.filled("list") {
        return listed(task, what);
    }
    let names = args.list("name");
    if args.flag("update_cache") {
        if !task.check {
            let output = dnf(task, &["makecache", "--refresh"], &[])?;
            if output.rc != 0 {
                return Err(Fault::from(format!("Failed to synchronize repodata: {}", output.err().trim())).with("rc", 1));
            }
        }
        if names.is_empty() && !args.flag("autoremove") {
            return Ok(json!({"changed": false, "msg": "Cache updated", "rc": 0, "results": []}).into());
        }
    }
    let mut all = Vec::new();
    let changed = if names.is_empty() && args.flag("autoremove") {
        let output = dnf(task, &["autoremove"], &[])?;
        all.extend(results(&output.out()));
        judge(task, &output)?
    } else {
        ensure(task, &names, &mut all)?
    };
    let msg = match (changed, task.check) {
        (false, _) => "Nothing to do",
        (true, true) => "Check mode: No changes made, but would have if not in check mode",
        (true, false) => "",
    };
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    result.insert("msg".into(), msg.into());
    result.insert("rc".into(), 0.into());
    result.insert("results".into(), all.into());
    Ok(Done::from(result))
}

#[cfg(test)]
#[path = "dnf_tests.rs"]
mod tests;
