//! Copies from the host to a node.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use ignore::gitignore::GitignoreBuilder;

use super::files::{absolute, missing};
use super::{ModeFile, OwnerFile, Sync, SyncFile};
use crate::report::Report;

/// Folders that are the system's own: nobody means to remove everything in them that is not on the host.
const SYSTEM: [&str; 25] = [
    "/",
    "/bin",
    "/boot",
    "/etc",
    "/etc/systemd",
    "/etc/systemd/system",
    "/home",
    "/lib",
    "/lib64",
    "/root",
    "/run",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lib/labctl",
    "/var/log",
];

/// Folders of the kernel's, and all that is below them.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The copies of the `nodes` entry at `at`.
pub(super) fn sync(written: &[SyncFile], at: &str, folder: &Path, report: &mut Report) -> Vec<Sync> {
    let mut targets = BTreeSet::new();
    let mut copies = Vec::new();
    for (position, copy) in written.iter().enumerate() {
        let SyncFile { from, to, delete, exclude, owner, mode } = copy;
        let at = format!("{at}/sync/{position}");
        let source = absolute(folder, from);
        if !source.exists() {
            let (reason, hint) = missing(&source, from);
            report.add(&format!("{at}/from"), reason, hint);
        }
        let to_at = format!("{at}/to");
        if !to.is_absolute() {
            let hint = format!("write an absolute path, such as `/{}`", to.display());
            report.add(&to_at, format!("`{}` is not an absolute path", to.display()), hint);
        } else if to.components().any(|part| part == Component::ParentDir) {
            report.add(&to_at, format!("`{}` has `..` in it", to.display()), "write the path without it");
        } else if !targets.insert(to) {
            report.add(&to_at, format!("two copies go to {}", to.display()), "give each its own target");
        }
        let is_system = SYSTEM.iter().any(|own| to == Path::new(own)) || KERNEL.iter().any(|own| to.starts_with(own));
        if *delete == Some(true) && is_system {
            let hint = "choose a folder of its own, or leave `delete` out: then only what an earlier copy brought is removed";
            report.add(&format!("{at}/delete"), format!("this would remove the system's own files from {}", to.display()), hint);
        }
        patterns(exclude, &format!("{at}/exclude"), report);
        let owner = owner.as_ref().map(|owner| self::owner(owner, &format!("{at}/owner"), report));
        let mode = mode.as_ref().and_then(|mode| self::mode(mode, &format!("{at}/mode"), report));
        copies.push(Sync { from: source, to: to.clone(), delete: *delete, exclude: exclude.clone(), owner, mode });
    }
    copies
}

fn patterns(exclude: &[String], at: &str, report: &mut Report) {
    for (position, line) in exclude.iter().enumerate() {
        let at = format!("{at}/{position}");
        if line.starts_with('#') {
            report.add(
                &at,
                format!("`{line}` is a comment in a `.gitignore`"),
                format!("write `\\{line}` for a name that begins with `#`"),
            );
        // For git, braces are characters like any other; this matcher would take them for alternatives.
        } else if let Err(why) = GitignoreBuilder::new("").add_line(None, &line.replace(['{', '}'], "x")) {
            report.add(
                &at,
                format!("`{line}` is not a pattern: {why}"),
                "patterns are those of a `.gitignore`, such as `*.log` or `/build/`",
            );
        }
    }
}

fn owner(written: &OwnerFile, at: &str, report: &mut Report) -> String {
    let text = match written {
        OwnerFile::Number(number) => number.to_string(),
        OwnerFile::Name(text) => text.clone(),
    };
    let name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-$".contains(c)) && !name.starts_with('-');
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 2 || parts.last().is_none_or(|last| last.is_empty()) || !parts.iter().all(|part| name(part)) {
        report.add(at, format!("`{text}` is not an owner"), "write `USER`, `USER:GROUP` or `:GROUP`");
    }
    text
}

/// Octal digits. `644` without quotes is a decimal number, whose bits nobody means.
fn mode(written: &ModeFile, at: &str, report: &mut Report) -> Option<u32> {
    let text = match written {
        ModeFile::Text(text) => text.clone(),
        ModeFile::Number(number) => {
            let text = report.written(at).unwrap_or_default().to_owned();
            if text.starts_with('0') && *number <= 0o777 {
                return Some(*number);
            }
            let digits = text.len() == 3 && text.chars().all(|c| ('0'..='7').contains(&c));
            let hint = if digits { format!("write `\"0{text}\"`") } else { "write octal digits in quotes, such as `\"0644\"`".to_owned() };
            report.add(at, format!("`{text}` without quotes is a decimal number, not a mode"), hint);
            return None;
        }
    };
    let digits = (3..=4).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c));
    let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| digits && *bits <= 0o777);
    if bits.is_none() {
        report.add(at, format!("`{text}` is not the mode of a file"), "write octal digits from 0000 to 0777, such as `\"0644\"`");
    }
    bits
}
