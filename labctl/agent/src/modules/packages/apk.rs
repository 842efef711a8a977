//! `apk`: packages of Alpine. Explicitly installed packages are read from /etc/apk/world; everything else comes from apk(8).

use std::fs;

use serde_json::{Value, json};

use crate::modules::call::arguments::{flag, list, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::spawn::{Output, Spawn};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["apk"],
    params: &[
        list("name"),
        text("state").of(&["present", "installed", "absent", "removed", "latest"]).or("present"),
        flag("update_cache"),
        flag("upgrade"),
        flag("available"),
        flag("no_cache"),
        list("repository"),
        text("world").or("/etc/apk/world"),
    ],
    files: false,
    run,
};

fn apk(task: &Task<'_>, words: &[&str], names: &[String]) -> Result<Output, Fault> {
    let args = &task.args;
    let mut argv = vec!["apk".to_owned()];
    argv.extend(args.flag("no_cache").then(|| "--no-cache".to_owned()));
    for repository in args.list("repository") {
        argv.extend(["--repository".to_owned(), repository, "--repositories-file".to_owned(), "/dev/null".to_owned()]);
    }
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    argv.extend_from_slice(names);
    Spawn::of(task, argv).env("LC_ALL", "C").run().map_err(|err| format!("could not run apk: {err}").into())
}

/// Packages from lines such as `(1/2) Installing nginx (1.24.0-r6)`.
fn touched(out: &str) -> Vec<&str> {
    let name = |line: &str| -> Option<usize> {
        let (count, rest) = line.strip_prefix('(')?.split_once(')')?;
        let (done, all) = count.split_once('/')?;
        done.parse::<u32>().ok().zip(all.parse::<u32>().ok())?;
        Some(line.len() - rest.len())
    };
    out.lines().filter_map(|line| line[name(line)?..].split_whitespace().nth(1)).collect()
}

fn report(output: &Output, msg: String, changed: bool) -> Outcome {
    let out = output.out();
    let mut result = json!({"changed": changed, "msg": msg, "stdout": out, "stderr": output.err()});
    result["packages"] = touched(&out).into();
    Ok(result.into())
}

fn refuse(output: &Output, msg: String) -> Fault {
    let out = output.out();
    Fault::from(msg).with("packages", touched(&out)).with("stdout", out.as_str()).with("stderr", output.err())
}

/// Formatted like a Python list of strings.
fn shown(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
}

fn in_world(world: &str, name: &str) -> bool {
    world
        .split_whitespace()
        .any(|entry| entry.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '=', '<', '>', '~'])))
}

fn is_latest(task: &Task<'_>, name: &str) -> Result<bool, Fault> {
    let out = apk(task, &["version", name], &[])?.out();
    let older = |line: &str| {
        let mut words = line.split_whitespace();
        let version = words.next().and_then(|first| first.strip_prefix(name)?.strip_prefix('-'));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())) && words.next() == Some("<")
    };
    Ok(!out.lines().any(older))
}

/// The packages of a virtual package; none if it is an ordinary one.
fn parts(task: &Task<'_>, name: &str) -> Result<Option<Vec<String>>, Fault> {
    let said = apk(task, &["-v", "info", "--description", name], &[])?.out();
    if !said.lines().any(|line| line.starts_with(&format!("{name}: virtual meta package"))) {
        return Ok(None);
    }
    let said = apk(task, &["-v", "info", "--depends", name], &[])?.out();
    Ok(Some(said.split_whitespace().skip(1).map(str::to_owned).collect()))
}

fn install(task: &Task<'_>, names: &[String], latest: bool) -> Outcome {
    let path = task.root.join(task.args.str("world"));
    let world = fs::read_to_string(&path).attempt("read", &path)?;
    let (mut missing, mut old) = (Vec::new(), Vec::new());
    for name in names {
        let there = in_world(&world, name);
        // Only a name that is not in the world file, or whose version matters, may be a virtual package: everything else needs no
        // process.
        if there && !latest {
            continue;
        }
        match parts(task, name)? {
            Some(parts) => {
                for part in parts {
                    if latest && !is_latest(task, &part)? {
                        old.push(part);
                    }
                }
            }
            None if !there => missing.push(name.clone()),
            None if !is_latest(task, name)? => old.push(name.clone()),
            None => {}
        }
    }
    if missing.is_empty() && old.is_empty() {
        return Ok(json!({"changed": false, "msg": "package(s) already installed"}).into());
    }
    let mut words = vec!["add"];
    words.extend((!old.is_empty()).then_some("--upgrade"));
    words.extend(task.check.then_some("--simulate"));
    missing.extend(old);
    let output = apk(task, &words, &missing)?;
    if output.rc != 0 {
        return Err(refuse(&output, format!("failed to install {}", shown(&missing))));
    }
    report(&output, format!("installed {} package(s)", shown(&missing)), true)
}

fn remove(task: &Task<'_>, names: &[String]) -> Outcome {
    let is_installed = |name: &String| -> Result<bool, Fault> { Ok(apk(task, &["-v", "info", "--installed", name], &[])?.rc == 0) };
    let mut installed = Vec::new();
    for name in names {
        if is_installed(name)? {
            installed.push(name.clone());
        }
    }
    if installed.is_empty() {
        return Ok(json!({"changed": false, "msg": "package(s) already removed"}).into());
    }
    let mut words = vec!["del", "--purge"];
    words.extend(task.check.then_some("--simulate"));
    let output = apk(task, &words, &installed)?;
    // Other packages may need them, and then they are kept.
    let mut stays = output.rc != 0;
    if !task.check {
        for name in &installed {
            stays |= is_installed(name)?;
        }
    }
    if stays {
        return Err(refuse(&output, format!("failed to remove {} package(s)", shown(&installed))));
    }
    report(&output, format!("removed {} package(s)", shown(&installed)), true)
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["name", "update_cache", "upgrade"])?;
    let names = args.list("name");
    if args.flag("upgrade") && args.has("name") {
        return Err("parameters are mutually exclusive: name|upgrade".into());
    }
    if names.iter().any(|name| name.trim().is_empty()) {
        return Err("Package name(s) cannot be empty or whitespace-only".into());
    }
    if args.flag("update_cache") {
        let output = if task.check { Output::default() } else { apk(task, &["update"], &[])? };
        if output.rc != 0 {
            return Err(refuse(&output, "could not update package db".into()));
        }
        if names.is_empty() && !args.flag("upgrade") {
            return Ok(json!({"changed": true, "msg": "updated repository indexes", "stdout": output.out(), "stderr": output.err()}).into());
        }
    }
    if args.flag("upgrade") {
        let mut words = vec!["upgrade"];
        words.extend(task.check.then_some("--simulate"));
        words.extend(args.flag("available").then_some("--available"));
        let output = apk(task, &words, &[])?;
        if output.rc != 0 {
            return Err(refuse(&output, "failed to upgrade packages".into()));
        }
        let nothing = output.out().starts_with("OK");
        return report(&output, if nothing { "packages already upgraded" } else { "upgraded packages" }.to_owned(), !nothing);
    }
    match args.str("state") {
        "absent" | "removed" => remove(task, &names),
        state if !names.is_empty() => install(task, &names, state == "latest"),
        _ => Ok(json!({"changed": false, "msg": Value::Null}).into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("etc/apk/world", "alpine-base\nnginx=1.24.0-r6\nold\n");
        let world = bench.text_path("etc/apk/world");
        let script = format!(
            "echo \"$*\" >> $NOTES
            case \"$*\" in
            *--simulate*) echo '(1/1) Installing curl (8.1-r0)';;
            'add missing') echo 'ERROR: unable to select packages' >&2; exit 1;;
            add*) echo '(1/2) Installing libcurl (8.1-r0)'; echo '(2/2) Installing curl (8.1-r0)'; echo OK; echo curl >> {world};;
            'version old') echo 'Installed:   Available:'; echo 'old-1.0-r0  < 1.1-r0 ';;
            'version nginx') echo 'nginx-1.24.0-r6  = 1.24.0-r6 ';;
            '-v info --installed nginx') grep -q nginx {world};;
            '-v info --installed'*) exit 1;;
            del*) sed -i /nginx/d {world}; echo '(1/1) Purging nginx (1.24.0-r6)';;
            upgrade) echo 'OK: 12 MiB in 15 packages';;
            esac"
        );
        bench.program("apk", &script);
        bench
    }

    #[test]
    fn what_is_in_the_world_costs_nothing() {
        let bench = bench();
        let result = bench.run("community.general.apk", json!({"name": ["nginx", "alpine-base"]}));
        assert_eq!((result["changed"].as_bool(), result["msg"].as_str()), (Some(false), Some("package(s) already installed")));
        assert!(bench.notes().is_empty());
    }

    #[test]
    fn packages_come_and_go() {
        let bench = bench();
        let result = bench.converges("apk", json!({"name": "curl"}), true);
        assert_eq!((&result["packages"], &result["msg"]), (&json!(["libcurl", "curl"]), &json!("installed ['curl'] package(s)")));
        bench.converges("apk", json!({"name": "nginx", "state": "absent"}), true);
        assert_eq!(bench.fault("apk", json!({"name": "missing"})), "failed to install ['missing']");
    }

    #[test]
    fn the_latest_and_upgrades() {
        let bench = bench();
        assert_eq!(bench.run("apk", json!({"name": "nginx", "state": "latest"}))["changed"], false);
        assert_eq!(bench.run("apk", json!({"name": "old", "state": "latest"}))["changed"], true);
        assert_eq!(bench.notes().last().unwrap(), "add --upgrade old");
        assert_eq!(bench.run("apk", json!({"upgrade": true}))["msg"], "packages already upgraded");
        assert_eq!(bench.run("apk", json!({"update_cache": true}))["changed"], true);
        assert!(bench.fault("apk", json!({"name": [" "]})).contains("whitespace"));
    }
}
