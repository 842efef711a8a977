//! `apt` and `package`: packages of Debian and its derivatives. Checks read dpkg's database; apt-get runs only if there is something to
//! do.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{Param, flag, int, list, on, param_flag, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::packages::apt_get::{AptGet, policy};
use crate::modules::packages::apt_spec::Spec;
use crate::modules::packages::dpkg;

const PARAMS: &[Param] = &[
    list("name").aka(&["package", "pkg"]),
    text("state").of(&["absent", "build-dep", "fixed", "installed", "latest", "present", "removed"]).or("present"),
    param_flag("update_cache").aka(&["update-cache"]),
    int("cache_valid_time").or("0"),
    int("update_cache_retries").or("5"),
    int("update_cache_retry_max_delay").or("12"),
    flag("purge"),
    path("deb"),
    text("default_release").aka(&["default-release"]),
    param_flag("install_recommends").aka(&["install-recommends"]),
    flag("force"),
    text("upgrade").of(&["dist", "full", "no", "safe", "yes", "False", "True"]).or("no"),
    text("dpkg_options").or("force-confdef,force-confold"),
    flag("autoremove"),
    flag("autoclean"),
    flag("clean"),
    flag("fail_on_autoremove"),
    int("policy_rc_d"),
    flag("only_upgrade"),
    flag("force_apt_get"),
    flag("allow_unauthenticated").aka(&["allow-unauthenticated"]),
    flag("allow_downgrade").aka(&["allow-downgrade", "allow_downgrades", "allow-downgrades"]),
    flag("allow_change_held_packages"),
    int("lock_timeout").or("60"),
    on("auto_install_module_deps"),
];

pub(crate) const MODULE: Module = Module { names: &["apt"], params: PARAMS, files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["deb", "name"])?;
    let mut result = Map::new();
    let names: Vec<String> = args.list("name").iter().flat_map(|name| crate::modules::text::comma_list(name)).collect();
    let upgrade = match args.str("upgrade") {
        "no" | "False" => None,
        "True" => Some("yes"),
        kind => Some(kind),
    };
    let work = !names.is_empty() || upgrade.is_some() || args.has("deb");
    if args.flag("clean") && !task.check {
        AptGet::new(task, &["clean"]).run()?;
    }
    if args.flag("clean") && !work && !wants_update(task) {
        return Ok(json!({"changed": true}).into());
    }
    let updated = update(task)?;
    result.insert("cache_updated".into(), updated.into());
    result.insert("cache_update_time".into(), cache_time(task).into());
    result.insert("changed".into(), false.into());
    if !work {
        result.insert("changed".into(), updated.into());
        for verb in ["autoclean", "autoremove"] {
            if args.flag(verb) {
                let purge = if args.flag("purge") { vec!["--purge", verb] } else { vec![verb] };
                let done = AptGet::new(task, &purge).simulated(task.check).run()?;
                done.report(&mut result);
            }
        }
        return Ok(result.into());
    }
    if let Some(kind) = upgrade {
        let verbs: &[&str] = match kind {
            "full" | "dist" => &["dist-upgrade"],
            _ => &["upgrade", "--with-new-pkgs"],
        };
        let done = AptGet::new(task, verbs).options().simulated(task.check).run()?;
        done.report(&mut result);
        result.insert("msg".into(), done.stdout.clone().into());
    }
    if let Some(deb) = args.filled("deb") {
        crate::modules::packages::apt_deb::install(task, deb, &mut result)?;
    }
    match args.str("state") {
        _ if names.is_empty() => {}
        "absent" | "removed" => remove(task, &names, &mut result)?,
        "build-dep" => {
            let mut words = vec!["build-dep"];
            words.extend(names.iter().map(String::as_str));
            AptGet::new(task, &words).options().simulated(task.check).run()?.report(&mut result);
        }
        state => install(task, &names, state, &mut result)?,
    }
    if args.flag("autoclean") && !task.check {
        AptGet::new(task, &["autoclean"]).run()?;
    }
    Ok(Done::from(result))
}

fn install(task: &Task<'_>, names: &[String], state: &str, result: &mut Map<String, Value>) -> Result<(), Fault> {
    let args = &task.args;
    let database = dpkg::database(task.root);
    let specs: Vec<Spec> = names.iter().map(|name| Spec::parse(name)).collect::<Result<_, _>>()?;
    let mut wanted: Vec<&Spec> = Vec::new();
    let mut candidates = Vec::new();
    for spec in &specs {
        let package = database.find(&spec.name).filter(|package| package.installed());
        match package {
            _ if spec.is_pattern() => wanted.push(spec),
            None if args.flag("only_upgrade") => {}
            None if spec.version.is_none() && database.provided(&spec.name) => {}
            None => wanted.push(spec),
            Some(package) if !spec.fits(&package.version) => wanted.push(spec),
            Some(package) if state == "latest" && spec.version.is_none() => {
                candidates.push((spec, package.version.clone()));
            }
            Some(_) => {}
        }
    }
    if !candidates.is_empty() {
        let asked: Vec<&str> = candidates.iter().map(|(spec, _)| spec.name.as_str()).collect();
        let newest = policy(task, &asked)?;
        wanted.extend(candidates.iter().filter_map(|(spec, installed)| {
            let candidate = newest.iter().find(|(name, _)| *name == spec.name)?;
            (candidate.1 != "(none)" && dpkg::compare(&candidate.1, installed).is_gt()).then_some(*spec)
        }));
    }
    if wanted.is_empty() && state != "fixed" {
        return Ok(());
    }
    // Check mode does not ask apt-get whether the packages exist: an earlier task may add their repository.
    if task.check && !wanted.iter().any(|spec| spec.is_pattern()) {
        result.insert("changed".into(), true.into());
        let names: Vec<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
        task.put_diff(
            result,
            || json!({"prepared": format!("The following NEW packages will be installed or upgraded:\n  {}\n", names.join(" "))}),
        );
        return Ok(());
    }
    let mut words = vec!["install".to_owned()];
    words.extend(wanted.iter().map(|spec| spec.argument()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut apt = AptGet::new(task, &words).options().simulated(task.check);
    if state == "fixed" {
        apt = apt.option("--fix-broken");
    }
    if args.flag("only_upgrade") {
        apt = apt.option("--only-upgrade");
    }
    let _silence = crate::modules::packages::apt_get::PolicyRcD::set(task)?;
    apt.run()?.report(result);
    Ok(())
}

fn remove(task: &Task<'_>, names: &[String], result: &mut Map<String, Value>) -> Result<(), Fault> {
    let database = dpkg::database(task.root);
    let purge = task.args.flag("purge");
    let mut words = vec![if purge { "purge" } else { "remove" }.to_owned()];
    for name in names {
        let spec = Spec::parse(name)?;
        let there = |package: &dpkg::Package| package.installed() || (purge && package.leftovers());
        if spec.is_pattern() {
            let fitting = database.packages.iter().filter(|package| there(package) && spec.name_fits(&package.name));
            words.extend(fitting.map(|package| package.name.clone()));
        } else if database.find(&spec.name).is_some_and(there) {
            words.push(spec.name);
        }
    }
    if words.len() == 1 {
        return Ok(());
    }
    if task.check {
        result.insert("changed".into(), true.into());
        task.put_diff(result, || json!({"prepared": format!("The following packages will be REMOVED:\n  {}\n", words[1..].join(" "))}));
        return Ok(());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _silence = crate::modules::packages::apt_get::PolicyRcD::set(task)?;
    AptGet::new(task, &words).options().run()?.report(result);
    Ok(())
}

fn wants_update(task: &Task<'_>) -> bool {
    let valid = task.args.int("cache_valid_time").unwrap_or(0);
    task.args.maybe("update_cache").unwrap_or(valid > 0)
}

/// Whether there are any package lists: an image ships without them, but their folder is still recent.
pub(crate) fn has_lists(task: &Task<'_>) -> bool {
    let entries = fs::read_dir(task.root.join("/var/lib/apt/lists")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().contains("Release") || name.to_string_lossy().contains("_Packages"))
}

/// When the package lists were last fetched, in seconds since 1970; 0 if there are none.
fn cache_time(task: &Task<'_>) -> u64 {
    if !has_lists(task) {
        return 0;
    }
    let of = |path: &str| fs::metadata(task.root.join(path)).and_then(|meta| meta.modified()).ok();
    of("/var/lib/apt/periodic/update-success-stamp")
        .or_else(|| of("/var/lib/apt/lists"))
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs())
}

/// Fetches the package lists if requested and too old; returns whether it did (or would).
fn update(task: &Task<'_>) -> Result<bool, Fault> {
    if !wants_update(task) {
        return Ok(false);
    }
    let valid = task.args.int("cache_valid_time").unwrap_or(0).max(0) as u64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if cache_time(task) + valid >= now && valid > 0 {
        return Ok(false);
    }
    if task.check {
        return Ok(true);
    }
    let tries = task.args.int("update_cache_retries").unwrap_or(5).max(1);
    let mut last = String::new();
    for _ in 0..tries {
        match AptGet::new(task, &["update"]).run() {
            Ok(done) if !done.stderr.contains("Failed to fetch") => {
                // apt-get does not update the folder's time when nothing changed, but Ansible uses that time.
                let lists = task.root.join("/var/lib/apt/lists");
                if let Ok(folder) = fs::File::open(lists) {
                    let _ = folder.set_modified(SystemTime::now());
                }
                return Ok(true);
            }
            Ok(done) => last = done.stderr,
            Err(fault) => last = fault.msg,
        }
    }
    Err(format!("Failed to update apt cache: {}", last.trim()).into())
}

#[cfg(test)]
#[path = "apt_tests.rs"]
mod tests;
