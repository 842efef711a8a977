//! The one step that needs the administrator, through `sudo`. labctl does not run itself again: under `sudo` it would find root's labs
//! instead of the user's, and a short script is enough.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use labctl_lab::{Failure, Kind, persist};
use labctl_spec::ident::LabName;

/// Arguments: the file, a copy of its expected current text, a copy of its new text. `cp -p` creates a temporary file beside it with the
/// same mode and owner, into which the new text is written; `mv` replaces the file. A bind mount cannot be replaced and is written in
/// place.
const SCRIPT: &str = r#"set -eu
target=$1 old=$2 new=$3
cmp -s -- "$old" "$target" || exit 75
tmp=$(mktemp "$(dirname -- "$target")/.labctl-hosts-XXXXXX")
trap 'rm -f -- "$tmp"' EXIT
cp -p -- "$target" "$tmp"
if command -v chcon >/dev/null 2>&1; then chcon --reference="$target" -- "$tmp" 2>/dev/null || true; fi
cat -- "$new" >"$tmp"
sync -- "$tmp" 2>/dev/null || sync
mv -f -- "$tmp" "$target" 2>/dev/null || cat -- "$new" >"$target"
"#;

/// Exit code of the script if the file was changed meanwhile (EX_TEMPFAIL of sysexits.h).
const CHANGED: i32 = 75;

/// Replaces `target` by `after` as the administrator. False if it no longer holds `before`: read it again.
pub fn install(file: &Path, target: &Path, before: &[u8], after: &[u8], lab: &LabName, apply: bool) -> Result<bool, Failure> {
    run(OsStr::new("sudo"), target, before, after).map_err(|why| {
        Failure::new(Kind::Host, format!("{} can only be changed by root; {why}", file.display()))
            .hint(format!("run: {}", by_hand(file, lab, apply)))
    })
}

/// Commands that do the same by hand: edit a copy, then put it in place. `sudo labctl` would not find the user's lab.
fn by_hand(file: &Path, lab: &LabName, apply: bool) -> String {
    let file = quoted(&file.to_string_lossy());
    let action = if apply { "apply" } else { "remove" };
    format!("cp {file} hosts.new && labctl --lab {lab} hosts {action} --file hosts.new && sudo cp hosts.new {file}; rm hosts.new")
}

/// Quotes one word for the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn run(sudo: &OsStr, target: &Path, before: &[u8], after: &[u8]) -> Result<bool, String> {
    // Root reads these; only this user can write them.
    let folder = tempfile::tempdir().map_err(|why| format!("cannot create a temporary folder: {why}"))?;
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    for (path, text) in [(&old, before), (&new, after)] {
        persist::write(path, text).map_err(|why| why.message)?;
    }
    let mut command = Command::new(sudo);
    // sudo prompts on the terminal itself, whatever standard input is; without a terminal it must not try.
    if OpenOptions::new().read(true).write(true).open("/dev/tty").is_err() {
        command.arg("--non-interactive");
    }
    command.arg("--prompt").arg(format!("[sudo] password for %p to change {}: ", target.display()));
    command.args(["--", "sh", "-c", SCRIPT, "labctl-hosts"]).args([target, &old, &new]);
    let output = command.stdin(Stdio::null()).output().map_err(|why| match why.kind() {
        ErrorKind::NotFound => "`sudo` is not installed".to_owned(),
        _ => format!("sudo: {why}"),
    })?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(CHANGED) => Ok(false),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
            Err(format!("sudo failed: {last}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    /// A program that accepts sudo's options and runs the rest as this user.
    fn stand_in(folder: &Path, body: &str) -> std::path::PathBuf {
        let path = folder.join("sudo");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    const RUN: &str = r#"while [ "$1" != -- ]; do shift; done; shift; exec "$@""#;

    #[test]
    fn the_script_replaces_the_file_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let sudo = stand_in(folder.path(), RUN);
        let file = folder.path().join("it's hosts");
        fs::write(&file, "old\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        assert_eq!(run(sudo.as_os_str(), &file, b"old\n", b"new\xff"), Ok(true));
        assert_eq!(fs::read(&file).unwrap(), b"new\xff");
        let about = fs::metadata(&file).unwrap();
        assert_eq!(about.mode() & 0o7777, 0o604);
        assert_ne!(about.ino(), inode);
        assert_eq!(run(sudo.as_os_str(), &file, b"old\n", b"newer\n"), Ok(false), "changed meanwhile");
        assert_eq!(fs::read(&file).unwrap(), b"new\xff");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file may stay");
    }

    #[test]
    fn a_refusal_is_told_with_a_command_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        fs::write(&file, "old\n").unwrap();
        let sudo = stand_in(folder.path(), "echo first >&2; echo 'sudo: a password is required' >&2; exit 1");
        let why = run(sudo.as_os_str(), &file, b"old\n", b"new\n").unwrap_err();
        assert_eq!(why, "sudo failed: sudo: a password is required");
        let why = run(folder.path().join("none").as_os_str(), &file, b"old\n", b"new\n").unwrap_err();
        assert_eq!(why, "`sudo` is not installed");
        assert_eq!(fs::read(&file).unwrap(), b"old\n");
        assert_eq!(
            by_hand(Path::new("/etc/my hosts"), &"demo".parse().unwrap(), false),
            "cp '/etc/my hosts' hosts.new && labctl --lab demo hosts remove --file hosts.new && sudo cp hosts.new '/etc/my hosts'; rm hosts.new"
        );
    }
}
