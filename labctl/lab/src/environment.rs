//! Environment variables that decide where labctl keeps things. One with a value that cannot be used is an error: labctl would otherwise work
//! somewhere else than the user meant.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use labctl_spec::size::Size;

use crate::{Failure, Kind};

/// Where programs for roles are, for work without the internet.
const ARTIFACTS: &str = "LABCTL_ARTIFACTS";

/// Limit on the size of all templates.
const TEMPLATES: &str = "LABCTL_TEMPLATES";

/// The folder in a variable; none if it is not set or empty.
fn folder(name: &str) -> Result<Option<PathBuf>, Failure> {
    absolute(name, env::var_os(name))
}

fn absolute(name: &str, value: Option<OsString>) -> Result<Option<PathBuf>, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let path = PathBuf::from(value);
    if path.is_absolute() {
        return Ok(Some(path));
    }
    let meant = env::current_dir().unwrap_or_else(|_| "/".into()).join(&path);
    Err(Failure::new(Kind::Input, format!("{name}: `{}` is not an absolute path", path.display()))
        .hint(format!("nothing was done; set {name} to {}, or unset it", meant.display())))
}

/// The folder for everything persistent, and the variable that decides it.
pub fn home() -> Result<(PathBuf, &'static str), Failure> {
    // All of them, so that a wrong one is reported even where another decides.
    let found = [
        ("LABCTL_HOME", folder("LABCTL_HOME")?),
        ("XDG_DATA_HOME", folder("XDG_DATA_HOME")?.map(|path| path.join("labctl"))),
        ("HOME", folder("HOME")?.map(|path| path.join(".local/share/labctl"))),
    ];
    folder(ARTIFACTS)?;
    template_limit()?;
    found.into_iter().find_map(|(name, path)| Some((path?, name))).ok_or_else(|| {
        Failure::new(Kind::Host, "no home folder: none of LABCTL_HOME, XDG_DATA_HOME and HOME is set")
            .hint("set LABCTL_HOME to an absolute path")
    })
}

/// Limit on the bytes that all templates together may use: `$LABCTL_TEMPLATES`, such as `4G`, or 10 GiB.
pub fn template_limit() -> Result<u64, Failure> {
    limit(env::var_os(TEMPLATES))
}

fn limit(value: Option<OsString>) -> Result<u64, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(10 << 30) };
    let size = value.to_str().and_then(|text| text.parse::<Size>().ok());
    size.map(|size| size.0).ok_or_else(|| {
        Failure::new(Kind::Input, format!("{TEMPLATES}: `{}` is not a size", value.to_string_lossy()))
            .hint("nothing was done; write it like 4G or 512M, or unset it")
    })
}

/// What to do if labctl's folder cannot be used. `decided` is the variable that names the folder.
pub fn way_out(decided: &str, folder: &Path) -> String {
    match decided {
        "LABCTL_HOME" => format!("LABCTL_HOME is {}; set it to a folder of your own that you can write to", folder.display()),
        other => format!("{other} decides this path; set LABCTL_HOME to a folder of your own that you can write to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_is_an_error_that_names_the_variable() {
        assert_eq!(absolute("X", None).unwrap(), None);
        assert_eq!(absolute("X", Some("".into())).unwrap(), None, "empty counts as unset");
        assert_eq!(absolute("X", Some("/a".into())).unwrap(), Some(PathBuf::from("/a")));
        let why = absolute("LABCTL_HOME", Some("here".into())).unwrap_err();
        assert_eq!((why.kind, why.message.as_str()), (Kind::Input, "LABCTL_HOME: `here` is not an absolute path"));
        let meant = env::current_dir().unwrap().join("here");
        assert!(why.hint.unwrap().contains(&meant.display().to_string()));
    }

    #[test]
    fn a_limit_is_a_size() {
        assert_eq!(limit(None).unwrap(), 10 << 30);
        assert_eq!(limit(Some("4G".into())).unwrap(), 4 << 30);
        let why = limit(Some("plenty".into())).unwrap_err();
        assert_eq!(why.message, "LABCTL_TEMPLATES: `plenty` is not a size");
    }
}
