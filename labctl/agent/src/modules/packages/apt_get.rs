//! Runs apt-get non-interactively.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::Task;
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::packages::apt::has_lists;

/// Printed by apt-get when it had nothing to do.
const NOTHING: &str = "0 upgraded, 0 newly installed, 0 to remove";

/// A run of apt-get.
pub(crate) struct AptGet<'a> {
    task: &'a Task<'a>,
    options: Vec<String>,
    words: Vec<String>,
}

/// Its output.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    changed: bool,
}

impl Said {
    /// Adds `changed`, `stdout`, `stderr` and `diff` to a result.
    pub(crate) fn report(&self, result: &mut Map<String, Value>) {
        let before = result.get("changed").and_then(Value::as_bool).unwrap_or(false);
        result.insert("changed".into(), (before || self.changed).into());
        result.insert("stdout".into(), self.stdout.clone().into());
        result.insert("stderr".into(), self.stderr.clone().into());
    }
}

impl<'a> AptGet<'a> {
    /// `words` are the command and its operands.
    pub(crate) fn new(task: &'a Task<'a>, words: &[&str]) -> Self {
        let timeout = task.args.int("lock_timeout").unwrap_or(60);
        let options = vec!["-y".to_owned(), "-o".to_owned(), format!("DPkg::Lock::Timeout={timeout}")];
        Self { task, options, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Only simulates if `pretend`.
    pub(crate) fn simulated(self, pretend: bool) -> Self {
        if pretend { self.option("--simulate") } else { self }
    }

    /// Adds the options for the task's arguments.
    pub(crate) fn options(mut self) -> Self {
        let args = &self.task.args;
        for option in crate::modules::text::comma_list(args.str("dpkg_options")) {
            self.options.extend(["-o".to_owned(), format!("Dpkg::Options::=--{option}")]);
        }
        match args.maybe("install_recommends") {
            Some(true) => self.options.extend(["-o".to_owned(), "APT::Install-Recommends=yes".to_owned()]),
            Some(false) => self.options.extend(["-o".to_owned(), "APT::Install-Recommends=no".to_owned()]),
            None => {}
        }
        for (key, option) in [
            ("autoremove", "--auto-remove"),
            ("fail_on_autoremove", "--no-remove"),
            ("allow_unauthenticated", "--allow-unauthenticated"),
            ("allow_downgrade", "--allow-downgrades"),
            ("allow_change_held_packages", "--allow-change-held-packages"),
        ] {
            if args.flag(key) {
                self.options.push(option.to_owned());
            }
        }
        if args.flag("force") {
            let all = ["--allow-unauthenticated", "--allow-downgrades", "--allow-remove-essential", "--allow-change-held-packages"];
            self.options.extend(all.map(str::to_owned));
        }
        if let Some(release) = args.filled("default_release") {
            self.options.extend(["-t".to_owned(), release.to_owned()]);
        }
        self
    }

    pub(crate) fn run(self) -> Result<Said, Fault> {
        let mut argv = vec!["apt-get".to_owned()];
        argv.extend(self.options);
        argv.extend(self.words.iter().cloned());
        let line = argv.join(" ");
        let output = quiet(Spawn::of(self.task, argv)).run().map_err(|err| Fault::from(format!("could not run apt-get: {err}")))?;
        let said = Said { stdout: output.out(), stderr: output.err(), changed: !output.out().contains(NOTHING) };
        if output.rc == 0 {
            return Ok(said);
        }
        let missing = said.stderr.lines().find_map(|line| {
            line.strip_prefix("E: Unable to locate package ")
                .or_else(|| line.strip_prefix("E: Package '").and_then(|rest| rest.split('\'').next()))
        });
        let msg = match missing {
            Some(name) if !has_lists(self.task) => {
                format!("No package matching '{name}' is available: there are no package lists yet; add `update_cache: true`")
            }
            Some(name) => format!("No package matching '{name}' is available"),
            None if output.timed_out => format!("'{line}' exceeded its time limit"),
            None => format!("'{line}' failed: {}", said.stderr.trim()),
        };
        Err(Fault::from(msg).with("rc", output.rc).with("stdout", said.stdout).with("stderr", said.stderr))
    }
}

/// Without questions and in English, whatever else the task's environment contains.
pub(crate) fn quiet(spawn: Spawn) -> Spawn {
    let defaults = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBIAN_PRIORITY", "critical"),
        ("NEEDRESTART_MODE", "l"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("LC_MESSAGES", "C.UTF-8"),
    ];
    defaults.into_iter().fold(spawn, |spawn, (key, value)| match spawn.env.contains_key(key) {
        true => spawn,
        false => spawn.env(key, value),
    })
}

/// The newest version of each package that apt would install, from `apt-cache policy`.
pub(crate) fn policy(task: &Task<'_>, names: &[&str]) -> Result<Vec<(String, String)>, Fault> {
    let mut argv = vec!["apt-cache", "policy"];
    argv.extend(names);
    let output = quiet(Spawn::of(task, argv)).must()?;
    let mut found = Vec::new();
    let mut name = String::new();
    for line in output.out().lines() {
        if let Some(package) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            name = package.to_owned();
        } else if let Some(version) = line.trim().strip_prefix("Candidate:") {
            found.push((name.clone(), version.trim().to_owned()));
        }
    }
    Ok(found)
}

/// While this exists, packages may not start services unless the administrator's own script allows it (`policy_rc_d`).
pub(crate) struct PolicyRcD {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl PolicyRcD {
    pub(crate) fn set(task: &Task<'_>) -> Result<Option<Self>, Fault> {
        let Some(code) = task.args.int("policy_rc_d").filter(|_| !task.check) else {
            return Ok(None);
        };
        let path = task.root.join("/usr/sbin/policy-rc.d");
        let before = fs::read(&path).ok();
        let script = format!("#!/bin/sh\nexit {code}\n");
        let attributes = Attributes { mode: 0o755, uid: None, gid: None };
        replace(&path, script.as_bytes(), &attributes).attempt("write", &path)?;
        Ok(Some(Self { path, before }))
    }
}

impl Drop for PolicyRcD {
    fn drop(&mut self) {
        let attributes = Attributes { mode: 0o755, uid: None, gid: None };
        let _ = match &self.before {
            Some(before) => replace(&self.path, before, &attributes),
            None => fs::remove_file(&self.path),
        };
    }
}
