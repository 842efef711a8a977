//! Labs that start by themselves: a unit of the user's systemd brings up those whose lab file has `autostart: true`.

mod unit;

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind, persist};
use labctl_spec::ident::LabName;
use serde::Serialize;

use crate::project;

/// Name of the unit.
pub const UNIT: &str = "labctl-autostart.service";

/// Variables that decide which labs and images labctl sees; the unit gets their values.
const VARIABLES: [&str; 4] = ["LABCTL_HOME", "XDG_DATA_HOME", "LABCTL_ARTIFACTS", "LABCTL_TEMPLATES"];

/// Where systemd finds what is ours.
#[derive(Debug, Clone)]
pub struct Systemd {
    /// The user's own units.
    units: PathBuf,
    /// Exists if the user's systemd runs from boot on, without a login.
    linger: Option<PathBuf>,
    program: PathBuf,
}

/// What is set up.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether systemd starts the unit.
    pub enabled: bool,
    /// The unit's file.
    pub unit: PathBuf,
    /// The program that the unit runs, if there is a unit.
    pub program: Option<PathBuf>,
    /// Whether that happens at boot; otherwise, when the user logs in.
    pub at_boot: bool,
    /// The labs that are brought up.
    pub labs: Vec<LabName>,
}

/// A lab that starts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Its name.
    pub name: LabName,
    /// Its lab file.
    pub file: PathBuf,
}

impl Systemd {
    /// The systemd of this user.
    pub fn of_user() -> Result<Self, Failure> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::new(Kind::Host, "autostart needs systemd, which this system does not have")
                .hint("have `labctl up` run at login in this system's own way"));
        }
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config"))).ok_or_else(|| {
            Failure::new(Kind::Host, "no folder for systemd's units: neither XDG_CONFIG_HOME nor HOME is an absolute path")
        })?;
        // The environment may hold another user's name.
        let user = labctl_image::doctor::user_name(rustix::process::getuid().as_raw());
        Ok(Self {
            units: config.join("systemd/user"),
            linger: user.map(|user| Path::new("/var/lib/systemd/linger").join(user)),
            program: "systemctl".into(),
        })
    }

    fn unit(&self) -> PathBuf {
        self.units.join(UNIT)
    }

    /// What systemd makes of `WantedBy=default.target`.
    fn link(&self) -> PathBuf {
        self.units.join("default.target.wants").join(UNIT)
    }

    /// What is set up, and for which labs.
    pub fn status(&self, home: &Home) -> Status {
        let written = fs::read_to_string(self.unit()).ok();
        Status {
            enabled: written.is_some() && self.link().symlink_metadata().is_ok(),
            unit: self.unit(),
            program: written.as_deref().and_then(unit::program),
            at_boot: self.linger.as_ref().is_some_and(|file| file.exists()),
            labs: marked(home).into_iter().map(|lab| lab.name).collect(),
        }
    }

    /// Writes and enables the unit; false if it was so already. Nothing is changed if the user's systemd does not respond.
    pub fn enable(&self) -> Result<bool, Failure> {
        let program = env::current_exe().map_err(Failure::io("cannot find labctl's own program"))?;
        let set = VARIABLES.iter().filter_map(|name| Some((*name, env::var_os(name).filter(|value| !value.is_empty())?)));
        let text = unit::text(&program, &set.collect::<Vec<_>>())?;
        let same = fs::read_to_string(self.unit()).is_ok_and(|written| written == text);
        if same && self.link().symlink_metadata().is_ok() {
            return Ok(false);
        }
        self.ask(&["show-environment"])?;
        persist::write_public(&self.unit(), text.as_bytes())?;
        self.ask(&["daemon-reload"])?;
        self.ask(&["enable", UNIT])?;
        Ok(true)
    }

    /// Removes the unit; false if there was none. Labs that run go on running.
    pub fn disable(&self) -> Result<bool, Failure> {
        let mut changed = false;
        for path in [self.link(), self.unit()] {
            match fs::remove_file(&path) {
                Ok(()) => changed = true,
                Err(why) if why.kind() == ErrorKind::NotFound => {}
                Err(why) => return Err(Failure::io(path.display())(why)),
            }
        }
        if changed {
            // A systemd that does not run has nothing to forget.
            let _ = self.ask(&["daemon-reload"]);
        }
        Ok(changed)
    }

    fn ask(&self, words: &[&str]) -> Result<(), Failure> {
        let shown = format!("systemctl --user {}", words.join(" "));
        let output = Command::new(&self.program).arg("--user").args(words).output().map_err(|why| match why.kind() {
            ErrorKind::NotFound => Failure::new(Kind::Host, "systemctl is not installed: autostart needs systemd")
                .hint("have `labctl up` run at login in this system's own way"),
            _ => Failure::io(&shown)(why),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(Kind::Host, format!("{shown}: {}", said.trim())).hint(
            "your user has no running systemd of its own, as after `su` or in a container; log in as that user, or run \
             `sudo loginctl enable-linger USER`, and repeat the command",
        ))
    }
}

/// The labs that start by themselves: those that were brought up before, and whose file says so now. A clone does not start with its
/// original.
pub fn marked(home: &Home) -> Vec<Marked> {
    let records = home.lab_names().into_iter().filter_map(|name| Record::load(&home.lab(&name)).ok().flatten());
    let ours = records.filter(|record| record.clone_of.is_none() && is_marked(record));
    ours.map(|record| Marked { name: record.lab.name, file: record.lab.file }).collect()
}

fn is_marked(record: &Record) -> bool {
    match project::load(&record.lab.file) {
        Ok(now) => now.name == record.lab.name && now.autostart,
        // `up` reports what is wrong with the file.
        Err(_) => record.lab.autostart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd(folder: &Path, program: &str) -> Systemd {
        Systemd { units: folder.join("systemd/user"), linger: Some(folder.join("linger")), program: program.into() }
    }

    #[test]
    fn it_is_enabled_and_disabled_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let systemd = systemd(folder.path(), "true");
        assert_eq!(systemd.status(&home).program, None);
        assert!(systemd.enable().unwrap());
        let written = fs::read_to_string(systemd.unit()).unwrap();
        assert!(written.contains("autostart run"), "{written}");
        // This systemctl makes no link; the real one does.
        assert!(!systemd.status(&home).enabled);
        fs::create_dir_all(systemd.link().parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(systemd.unit(), systemd.link()).unwrap();
        assert!(!systemd.enable().unwrap(), "it is so already");
        fs::write(folder.path().join("linger"), "").unwrap();
        let status = systemd.status(&home);
        assert!(status.enabled && status.at_boot);
        assert_eq!(status.program, Some(env::current_exe().unwrap()));
        assert!(systemd.disable().unwrap());
        assert!(!systemd.disable().unwrap());
        assert!(systemd.link().symlink_metadata().is_err() && !systemd.unit().exists());
    }

    #[test]
    fn without_a_systemd_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for program in ["false", "/nowhere/systemctl"] {
            let systemd = systemd(folder.path(), program);
            let failure = systemd.enable().unwrap_err();
            assert!(failure.kind == Kind::Host && failure.message.contains("systemctl") && failure.hint.is_some(), "{failure:?}");
            assert!(!systemd.units.exists());
            assert!(!systemd.disable().unwrap());
        }
    }

    #[test]
    fn the_file_as_it_is_now_marks_a_lab() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let write = |name: &str, mark: &str| {
            let file = folder.path().join(format!("{name}.yml"));
            fs::write(&file, format!("name: {name}\n{mark}nodes: [{{name: a}}]\n")).unwrap();
            file
        };
        for (name, mark) in [("one", "autostart: true\n"), ("two", ""), ("three", "autostart: true\n")] {
            let lab = project::load(&write(name, mark)).unwrap();
            Record::prepare(&home, lab).unwrap().save(&home.lab(&name.parse().unwrap())).unwrap();
        }
        let names = || marked(&home).iter().map(|lab| lab.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(), ["one", "three"]);
        write("one", "");
        write("two", "autostart: true\n");
        fs::write(folder.path().join("three.yml"), "nodes: 7\n").unwrap();
        assert_eq!(names(), ["three", "two"], "a broken file does not hide a lab");
    }
}
