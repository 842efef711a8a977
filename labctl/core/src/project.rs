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

/// Finds the requested lab file: `named` (a file, or the name of a lab that was brought up before), else `lab.yml` in this folder or one
/// above it, else the only file in `hosts/` here.
pub fn find(home: &Home, named: Option<&str>) -> Result<PathBuf, Failure> {
    let here = env::current_dir().map_err(Failure::io("the current folder"))?;
    match named {
        Some(named) => find_named(home, &here, named),
        None => find_here(&here),
    }
}

fn find_named(home: &Home, here: &Path, named: &str) -> Result<PathBuf, Failure> {
    let path = here.join(named);
    if path.is_file() {
        return Ok(path);
    }
    if path.is_dir() {
        return find_here(&path);
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

fn find_here(here: &Path) -> Result<PathBuf, Failure> {
    if let Some(found) = here.ancestors().map(|folder| folder.join(LAB_FILE)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let mut labs: Vec<PathBuf> = fs::read_dir(here.join("hosts"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"))
        .collect();
    labs.sort();
    match &labs[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(Kind::NotFound, format!("there is no {LAB_FILE} in {} or above", here.display()))
            .hint("`labctl init` writes one; `--lab FILE` names another")),
        several => {
            let names: Vec<String> = several.iter().map(|path| path.strip_prefix(here).unwrap_or(path).display().to_string()).collect();
            Err(Failure::new(Kind::Input, format!("there are several labs in {}", here.join("hosts").display()))
                .hint(format!("choose one: --lab {}", names.join(" | --lab "))))
        }
    }
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
