//! Certificate authorities that the guest trusts besides those of its image: files where Debian's update-ca-certificates(8) looks, entries of
//! the bundle that most programs read, and, by that program, the links that the others need.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use labctl_wire::{Authority, Identity};

use super::files::replace;

/// Where local certificates are placed.
const LOCAL: &str = "usr/local/share/ca-certificates";

/// The bundle, and the folder with a link for each certificate.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const LINKS: &str = "etc/ssl/certs";

/// Begins the names of our files.
const OURS: &str = "labctl-";

/// Writes the files below `root`. A guest that neither has nor had authorities of ours is left alone, so that forks touch nothing.
pub(super) fn write(root: &Path, before: Option<&Identity>, now: &Identity) -> io::Result<()> {
    let had = before.map_or(&[][..], |before| &before.authorities);
    if now.authorities.is_empty() && had.is_empty() {
        return Ok(());
    }
    let folder = root.join(LOCAL);
    fs::create_dir_all(&folder)?;
    for old in had.iter().filter(|old| !now.authorities.iter().any(|kept| kept.name == old.name)) {
        let _ = fs::remove_file(folder.join(file_name(old)));
    }
    for authority in &now.authorities {
        replace(&folder.join(file_name(authority)), authority.pem.as_bytes(), 0o644)?;
    }
    add_to_bundle(&root.join(BUNDLE), &now.authorities)
}

fn file_name(authority: &Authority) -> String {
    format!("{OURS}{}.crt", authority.name)
}

/// Appends what the bundle lacks. What it has too much is removed when it is made again.
fn add_to_bundle(bundle: &Path, authorities: &[Authority]) -> io::Result<()> {
    let Ok(text) = fs::read_to_string(bundle) else { return Ok(()) };
    let missing: String = authorities
        .iter()
        .map(|authority| format!("{}\n", authority.pem.trim_end()))
        .filter(|pem| !text.contains(pem.trim_end()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    OpenOptions::new().append(true).open(bundle)?.write_all(missing.as_bytes())
}

/// Makes bundle and links again if they do not belong to the files. That takes seconds in an emulated guest, and happens only after a change.
pub(super) fn settle(before: &Identity, now: &Identity) {
    if now.authorities.is_empty() && before.authorities.is_empty() {
        return;
    }
    let root = Path::new("/");
    let wanted: BTreeSet<String> = now.authorities.iter().map(|authority| format!("{OURS}{}", authority.name)).collect();
    let same_content = before.authorities == now.authorities;
    if same_content && linked(root) == wanted {
        return;
    }
    let made = Command::new("/usr/sbin/update-ca-certificates").arg("--fresh").stdin(Stdio::null()).stdout(Stdio::null()).output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            eprintln!("labctl-agent: update-ca-certificates: {}: {}", output.status, said.trim());
        }
        // The bundle has them.
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => eprintln!("labctl-agent: update-ca-certificates: {why}"),
    }
}

/// Names, without extension, of our certificates that have a link.
fn linked(root: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(root.join(LINKS)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".pem").filter(|name| name.starts_with(OURS)).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_added_once_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join(LINKS)).unwrap();
        fs::write(root.join(BUNDLE), "USUAL\n").unwrap();
        let of = |names: &[&str]| Identity {
            authorities: names.iter().map(|name| Authority { name: (*name).into(), pem: format!("PEM of {name}\n") }).collect(),
            ..Identity::default()
        };
        let (none, one, two) = (of(&[]), of(&["corp"]), of(&["corp", "lab"]));
        write(root, None, &none).unwrap();
        assert!(!root.join(LOCAL).exists(), "untouched");
        write(root, None, &one).unwrap();
        write(root, Some(&one), &two).unwrap();
        write(root, Some(&two), &two).unwrap();
        assert_eq!(fs::read_to_string(root.join(BUNDLE)).unwrap(), "USUAL\nPEM of corp\nPEM of lab\n");
        assert_eq!(fs::read_to_string(root.join(LOCAL).join("labctl-corp.crt")).unwrap(), "PEM of corp\n");
        write(root, Some(&two), &of(&["lab"])).unwrap();
        assert!(!root.join(LOCAL).join("labctl-corp.crt").exists() && root.join(LOCAL).join("labctl-lab.crt").exists());
    }
}
