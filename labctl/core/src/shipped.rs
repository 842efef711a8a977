//! What is shipped inside the program: roles, images, scenarios and the demo lab, so that it works standalone in any folder.
//!
//! Plays, images and programs are read as files, so they are written to disk once per set of contents, in `shipped/DIGEST` of labctl's data
//! folder. Files beside a lab file take precedence.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind, persist};

use crate::project::LAB_FILE;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The demo lab's files: their path among the shipped files, and where `labctl init --demo` writes them.
const DEMO: [(&str, &str); 2] = [("hosts/demo.yml", LAB_FILE), ("hosts/jobs/fib.nomad", "jobs/fib.nomad")];

/// The folder with the shipped files, written on first use.
pub fn folder(home: &Home) -> Result<PathBuf, Failure> {
    let all = home.shipped();
    let folder = all.join(DIGEST);
    if folder.is_dir() {
        return Ok(folder);
    }
    lay_out(&all, &folder).map_err(Failure::io(folder.display()))?;
    Ok(folder)
}

/// Writes everything into a temporary folder beside it, then renames that: the folder exists complete or not at all.
fn lay_out(all: &Path, folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(all)?;
    let partial = tempfile::Builder::new().prefix(".partial-").permissions(Permissions::from_mode(0o700)).tempdir_in(all)?;
    for (path, mode, content) in FILES {
        let path = partial.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(partial.path()))?;
        let mut file = fs::File::create(&path)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(*mode))?;
        file.sync_all()?;
    }
    match fs::rename(partial.path(), folder) {
        // Another command was quicker; its files are the same.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.and_then(|()| fs::File::open(all)?.sync_all()),
    }
}

/// Names of the shipped `.yml` files directly in `folder`, without that extension.
pub fn names(folder: &str) -> impl Iterator<Item = &'static str> {
    let prefix = format!("{folder}/");
    let name = move |path: &'static str| path.strip_prefix(&prefix)?.strip_suffix(".yml").filter(|name| !name.contains('/'));
    FILES.iter().filter_map(move |(path, _, _)| name(path))
}

/// Writes the demo lab into a folder; returns what was written. Without `replace` no file is touched if one of them exists.
pub fn write_demo(into: &Path, replace: bool) -> Result<Vec<PathBuf>, Failure> {
    let files: Vec<(PathBuf, &[u8])> = DEMO
        .iter()
        .filter_map(|(from, to)| FILES.iter().find(|(path, _, _)| path == from).map(|(_, _, content)| (into.join(to), *content)))
        .collect();
    if let Some((existing, _)) = files.iter().find(|(path, _)| path.exists() && !replace) {
        return Err(Failure::new(Kind::Conflict, format!("{} already exists", existing.display()))
            .hint("use --force to replace it, or run the command in an empty folder"));
    }
    // The lab file last: the files that it names exist before it does.
    for (path, content) in files.iter().rev() {
        persist::write_public(path, content)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::{self, Plays};

    fn home(at: &Path) -> Home {
        Home::at(&at.join("data"), &at.join("run")).unwrap()
    }

    #[test]
    fn files_are_laid_out_once_and_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let home = home(scratch.path());
        let folder = folder(&home).unwrap();
        for (path, mode, content) in FILES {
            assert_eq!(fs::read(folder.join(path)).unwrap(), *content, "{path}");
            assert_eq!(fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777, *mode, "{path}");
        }
        let role = folder.join("roles/consul/tasks/main.yml");
        let before = fs::metadata(&role).unwrap().modified().unwrap();
        assert_eq!(super::folder(&home).unwrap(), folder);
        assert_eq!(fs::metadata(&role).unwrap().modified().unwrap(), before);
        assert_eq!(fs::read_dir(home.shipped()).unwrap().count(), 1, "nothing partial stays");
    }

    #[test]
    fn a_killed_layout_is_repeated() {
        let scratch = tempfile::tempdir().unwrap();
        let home = home(scratch.path());
        fs::create_dir_all(home.shipped().join(".partial-abc/roles")).unwrap();
        assert!(folder(&home).unwrap().join("images/debian-12.yml").is_file());
    }

    #[test]
    fn the_demo_lab_is_complete_in_an_empty_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let home = home(scratch.path());
        let here = scratch.path().join("here");
        fs::create_dir(&here).unwrap();
        let written = write_demo(&here, false).unwrap();
        assert_eq!(written, [here.join("lab.yml"), here.join("jobs/fib.nomad")]);
        let (_, tasks) = validation::lab(&home, &here.join("lab.yml"), Plays::Read).unwrap();
        assert!(tasks.len() > 20, "{tasks:?}");
        assert_eq!(write_demo(&here, false).unwrap_err().kind, Kind::Conflict);
        write_demo(&here, true).unwrap();
    }

    #[test]
    fn a_role_beside_the_lab_file_comes_first() {
        let scratch = tempfile::tempdir().unwrap();
        let home = home(scratch.path());
        let here = scratch.path().join("here");
        fs::create_dir_all(here.join("roles/common/tasks")).unwrap();
        fs::write(here.join("roles/common/tasks/main.yml"), "- name: Mine\n  debug: {msg: mine}\n").unwrap();
        fs::write(here.join("lab.yml"), "name: t\nnodes: [{name: a}]\nprovision: [{hosts: all, roles: [common]}]\n").unwrap();
        let (_, tasks) = validation::lab(&home, &here.join("lab.yml"), Plays::Read).unwrap();
        let names: Vec<String> = tasks.into_iter().map(|task| task.name).collect();
        assert!(names.iter().any(|name| name.contains("Mine")), "{names:?}");
        assert!(names.len() <= 2, "{names:?}");
    }

    #[test]
    fn shipped_names_are_those_of_the_folder() {
        let images: Vec<&str> = names("images").collect();
        assert!(images.contains(&"debian-12") && images.contains(&"debian-13"), "{images:?}");
        assert!(names("roles").next().is_none());
    }
}
