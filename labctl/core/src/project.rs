//! Finding the lab that a command is for.

use std::path::{Path, PathBuf};
use std::{env, fs};

use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;
use labctl_spec::lab::Lab;
use labctl_spec::{LoadError, load_lab};

/// Name of a lab file that is found without being named.
pub const LAB_FILE: &str = "lab.yml";

/// Finds the requested lab file: `named` (a file, the name of one in `hosts/` here, or the name of a lab that was brought up before), else
/// `lab.yml` in this folder or one above it, else the only file in `hosts/` here, else the only one of those whose lab is up.
pub fn find(home: &Home, named: Option<&str>) -> Result<PathBuf, Failure> {
    let here = env::current_dir().map_err(Failure::io("the current folder"))?;
    match named {
        Some(named) => find_named(home, &here, named),
        None => find_here(home, &here),
    }
}

fn find_named(home: &Home, here: &Path, named: &str) -> Result<PathBuf, Failure> {
    let path = here.join(named);
    if path.is_file() {
        return Ok(path);
    }
    if path.is_dir() {
        return find_here(home, &path);
    }
    if let Some(file) = labs_in(here).into_iter().find(|file| file.file_stem().is_some_and(|stem| stem == named)) {
        return Ok(file);
    }
    if let Ok(name) = named.parse::<LabName>()
        && let Some(record) = Record::load(&home.lab(&name))?
    {
        return Ok(record.lab.file);
    }
    let known: Vec<String> = home.lab_names().iter().map(ToString::to_string).collect();
    let failure = Failure::new(Kind::NotFound, format!("there is no lab file `{named}` and no lab of that name"));
    Err(match known.is_empty() {
        true => failure.hint("`labctl init` writes a lab file"),
        false => failure.hint(format!("labs on this host: {}", known.join(", "))),
    })
}

fn find_here(home: &Home, here: &Path) -> Result<PathBuf, Failure> {
    if let Some(found) = here.ancestors().map(|folder| folder.join(LAB_FILE)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let labs = labs_in(here);
    match &labs[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(Kind::NotFound, format!("there is no {LAB_FILE} in {} or above", here.display()))
            .hint("`labctl init` writes one; `--lab FILE` names another")),
        several => the_one_up(home, here, several),
    }
}

/// The lab files in `hosts/`, sorted.
fn labs_in(here: &Path) -> Vec<PathBuf> {
    let mut labs: Vec<PathBuf> = fs::read_dir(here.join("hosts"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"))
        .collect();
    labs.sort();
    labs
}

/// Of several lab files, the one whose lab was brought up and not destroyed. If that is true of none or of more than one, the user must say.
fn the_one_up(home: &Home, here: &Path, labs: &[PathBuf]) -> Result<PathBuf, Failure> {
    let mut up = Vec::new();
    for file in labs {
        if recorded(home, file)?.is_some() {
            up.push(file);
        }
    }
    if let [only] = up[..] {
        return Ok(only.clone());
    }
    let names = |files: &mut dyn Iterator<Item = &PathBuf>| {
        let names: Vec<String> = files.filter_map(|file| Some(format!("--lab {}", file.file_stem()?.display()))).collect();
        names.join(" | ")
    };
    let hosts = here.join("hosts");
    Err(match up.is_empty() {
        true => Failure::new(Kind::Input, format!("there are several labs in {}, and none of them is up", hosts.display()))
            .hint(format!("choose one: {}", names(&mut labs.iter()))),
        false => Failure::new(Kind::Input, format!("several of the labs in {} are up", hosts.display()))
            .hint(format!("choose one: {}", names(&mut up.into_iter()))),
    })
}

/// Reads a lab file; all its errors become one failure.
pub fn load(file: &Path) -> Result<Lab, Failure> {
    load_lab(file).map_err(|why| from_load_error(&why))
}

/// An error in one of labctl's own files as a failure.
pub fn from_load_error(why: &LoadError) -> Failure {
    let kind = match why {
        LoadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
        _ => Kind::Input,
    };
    let hint = match why {
        LoadError::Io { .. } => "check that the path is right and that you can read the file",
        LoadError::Mistakes(_) => "nothing was changed; correct the file and repeat the command",
    };
    Failure::new(kind, why.to_string()).hint(hint)
}

/// The lab as it was last brought up, whatever its file says now: for commands that must work with a broken or missing file.
pub fn recorded(home: &Home, file: &Path) -> Result<Option<Record>, Failure> {
    for name in home.lab_names() {
        // An unreadable record of another lab is irrelevant here.
        if let Ok(Some(record)) = Record::load(&home.lab(&name))
            && record.lab.file == file
            && record.clone_of.is_none()
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home, and a folder with `hosts/a.yml` and `hosts/b.yml`.
    fn two_labs() -> (tempfile::TempDir, Home, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let hosts = root.join("here/hosts");
        fs::create_dir_all(&hosts).unwrap();
        for (name, subnet) in [("a", "10.98.1.0/24"), ("b", "10.98.2.0/24")] {
            let text = format!("name: {name}\nnetwork: {{subnet: {subnet}}}\nnodes:\n  - name: one\n");
            fs::write(hosts.join(name).with_extension("yml"), text).unwrap();
        }
        let home = Home::at(&root.join("home"), &root.join("run")).unwrap();
        (folder, home, root.join("here"))
    }

    fn bring_up(home: &Home, file: &Path) {
        let lab = load(file).unwrap();
        let own = home.lab(&lab.name);
        own.make().unwrap();
        Record::prepare(home, lab).unwrap().save(&own).unwrap();
    }

    #[test]
    fn of_several_labs_the_only_one_that_is_up_is_meant() {
        let (_folder, home, here) = two_labs();
        let refused = find_here(&home, &here).unwrap_err();
        assert!(refused.to_string().contains("none of them is up"), "{refused}");
        assert!(refused.hint.unwrap().contains("--lab a | --lab b"));
        bring_up(&home, &here.join("hosts/b.yml"));
        assert_eq!(find_here(&home, &here).unwrap(), here.join("hosts/b.yml"));
        bring_up(&home, &here.join("hosts/a.yml"));
        let refused = find_here(&home, &here).unwrap_err();
        assert!(refused.to_string().contains("are up"), "{refused}");
    }

    #[test]
    fn a_lab_in_hosts_is_found_by_name() {
        let (_folder, home, here) = two_labs();
        assert_eq!(find_named(&home, &here, "a").unwrap(), here.join("hosts/a.yml"));
        assert!(find_named(&home, &here, "c").is_err());
    }
}
