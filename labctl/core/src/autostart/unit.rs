//! The unit's text (systemd.unit(5), systemd.service(5), systemd.syntax(7)).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use labctl_lab::{Failure, Kind};

/// What precedes the program.
const START: &str = "ExecStart=";

/// The unit that runs `program` with these variables.
pub(super) fn text(program: &Path, variables: &[(&str, OsString)]) -> Result<String, Failure> {
    let path = program.to_str().ok_or_else(|| unwritable(program))?;
    // Only in command lines, `$` begins a variable.
    let mut out = String::from(
        "# Written by labctl autostart; it also removes it.\n\
         [Unit]\n\
         Description=Start the labs whose lab file has autostart: true\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         # Machines and their supervisors outlive this unit.\n\
         KillMode=process\n",
    );
    for (name, value) in variables {
        let written = value.to_str().and_then(|value| quoted(&format!("{name}={value}")));
        out += &format!("Environment={}\n", written.ok_or_else(|| unwritable(Path::new(value)))?);
    }
    let command = quoted(path).ok_or_else(|| unwritable(program))?.replace('$', "$$");
    out += &format!("{START}{command} autostart run\n\n[Install]\nWantedBy=default.target\n");
    Ok(out)
}

/// The program that a unit's text runs.
pub(super) fn program(text: &str) -> Option<PathBuf> {
    let line = text.lines().find_map(|line| line.strip_prefix(START))?;
    let (path, _) = line.strip_prefix('"')?.rsplit_once("\" ")?;
    Some(path.replace("$$", "$").replace("%%", "%").replace("\\\"", "\"").replace("\\\\", "\\").into())
}

/// A word in systemd's quotes; none if it has a line break or another control character.
fn quoted(word: &str) -> Option<String> {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    (!word.contains(char::is_control)).then(|| format!("\"{escaped}\""))
}

fn unwritable(path: &Path) -> Failure {
    Failure::new(Kind::Host, format!("{}: this path cannot be written into a unit of systemd", path.display()))
        .hint("move it to a folder whose path is UTF-8 without control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_this_program_in_this_home() {
        let text = text(Path::new("/opt/my labs/labctl"), &[("LABCTL_HOME", "/srv/50%".into())]).unwrap();
        assert_eq!(
            text,
            "# Written by labctl autostart; it also removes it.\n[Unit]\nDescription=Start the labs whose lab file has autostart: true\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n# Machines and their supervisors outlive this unit.\nKillMode=process\nEnvironment=\"LABCTL_HOME=/srv/50%%\"\nExecStart=\"/opt/my labs/labctl\" autostart run\n\n[Install]\nWantedBy=default.target\n"
        );
    }

    #[test]
    fn odd_paths_are_read_back() {
        for path in ["/usr/bin/labctl", "/a b/$x/50%/\"q\"/back\\slash", "/ä/labctl"] {
            assert_eq!(program(&text(Path::new(path), &[]).unwrap()), Some(PathBuf::from(path)));
        }
        assert_eq!(text(Path::new("/a\nb"), &[]).unwrap_err().kind, Kind::Host);
        let latin = <OsString as std::os::unix::ffi::OsStringExt>::from_vec(b"/caf\xe9".to_vec());
        assert_eq!(text(Path::new("/a"), &[("LABCTL_HOME", latin)]).unwrap_err().kind, Kind::Host, "not another home without a word");
        assert_eq!(program("[Unit]\n"), None);
    }
}
