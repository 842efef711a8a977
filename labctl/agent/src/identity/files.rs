//! The files that hold a node's identity across reboots.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use labctl_wire::Identity;

use super::KEPT;

const BEGIN: &str = "# labctl begin";
const END: &str = "# labctl end";

/// Writes the files that every identity has below `root`; a file whose content is already right is left alone.
pub(super) fn write(root: &Path, identity: &Identity) -> io::Result<()> {
    replace(&root.join("etc/hostname"), format!("{}\n", identity.hostname).as_bytes(), 0o644)?;
    if !identity.machine_id.is_empty() {
        replace(&root.join("etc/machine-id"), format!("{}\n", identity.machine_id).as_bytes(), 0o444)?;
    }
    let hosts = fs::read_to_string(root.join("etc/hosts")).unwrap_or_else(|_| "127.0.0.1 localhost\n::1 localhost\n".into());
    replace(&root.join("etc/hosts"), with_block(&hosts, &hosts_lines(identity)).as_bytes(), 0o644)?;
    if let Some(server) = identity.gateway {
        let text = format!("nameserver {server}\nsearch {}\n", identity.domain);
        replace(&root.join("etc/resolv.conf"), text.as_bytes(), 0o644)?;
    }
    if !identity.ssh_host_key.is_empty() {
        write_host_key(root, "ed25519", &identity.ssh_host_key, &identity.ssh_host_key_public)?;
    }
    for key in &identity.more_host_keys {
        if let Some(kind) = key.kind() {
            write_host_key(root, kind, &key.private, &key.public)?;
        }
    }
    if !identity.authorized_keys.is_empty() {
        let folder = root.join("root/.ssh");
        fs::create_dir_all(&folder)?;
        let keys = fs::read_to_string(folder.join("authorized_keys")).unwrap_or_default();
        replace(&folder.join("authorized_keys"), with_block(&keys, &identity.authorized_keys).as_bytes(), 0o600)?;
    }
    let kept = root.join(KEPT);
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    let lasting = Identity { entropy: Vec::new(), clock_ns: 0, ..identity.clone() };
    replace(&kept, &serde_json::to_vec(&lasting)?, 0o600)
}

fn write_host_key(root: &Path, kind: &str, private: &str, public: &str) -> io::Result<()> {
    let keys = root.join("etc/ssh");
    fs::create_dir_all(&keys)?;
    replace(&keys.join(format!("ssh_host_{kind}_key")), private.as_bytes(), 0o600)?;
    replace(&keys.join(format!("ssh_host_{kind}_key.pub")), format!("{}\n", public.trim_end()).as_bytes(), 0o644)
}

fn hosts_lines(identity: &Identity) -> Vec<String> {
    let mut lines = Vec::new();
    for neighbour in &identity.neighbours {
        let addresses = [Some(IpAddr::from(neighbour.address)), neighbour.address6.map(IpAddr::from)];
        lines.extend(addresses.into_iter().flatten().map(|address| format!("{address} {}", neighbour.names.join(" "))));
    }
    lines
}

/// `text` with its labctl block replaced by `lines`, or with a new block at the end.
pub(super) fn with_block(text: &str, lines: &[String]) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            BEGIN => inside = true,
            END => inside = false,
            _ if !inside => kept += &format!("{line}\n"),
            _ => {}
        }
    }
    format!("{kept}{BEGIN}\n{}{END}\n", lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// Writes a file. An existing file is written in place, which costs a fork a tenth of a rename. If a crash leaves it torn, the next boot
/// writes it again before anything reads it.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let existing = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let mut file = match existing {
        Ok(file) => file,
        Err(_) => {
            // Missing, or a link to somewhere else: resolv.conf often is one.
            let _ = fs::remove_file(path);
            OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?
        }
    };
    let about = file.metadata()?;
    if about.permissions().mode() & 0o7777 != mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    let mut old = Vec::new();
    file.read_to_end(&mut old)?;
    if old == content {
        return Ok(());
    }
    file.write_all_at(content, 0)?;
    if about.len() > content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use labctl_wire::{HostKey, Neighbour};
    use std::net::Ipv4Addr;

    #[test]
    fn writes_files_once_and_again() {
        let root = std::env::temp_dir().join(format!("labctl-identity-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("root")).unwrap();
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n10.0.0.1 mine\n").unwrap();
        let mut identity = Identity {
            hostname: "client1".into(),
            domain: "demo".into(),
            machine_id: "0".repeat(32),
            gateway: Some(Ipv4Addr::new(10, 1, 0, 1)),
            neighbours: vec![Neighbour {
                address: Ipv4Addr::new(10, 1, 0, 2),
                address6: Some("fd01::2".parse().unwrap()),
                names: vec!["client1.demo".into(), "client1".into()],
            }],
            ssh_host_key: "KEY\n".into(),
            ssh_host_key_public: "ssh-ed25519 AAAA".into(),
            more_host_keys: vec![HostKey { private: "RSA\n".into(), public: "ssh-rsa CCCC".into() }],
            authorized_keys: vec!["ssh-ed25519 BBBB".into()],
            entropy: vec![1; 64],
            ..Identity::default()
        };
        write(&root, &identity).unwrap();
        identity.neighbours[0].names.push("c1".into());
        write(&root, &identity).unwrap();
        assert_eq!(
            fs::read_to_string(root.join("etc/hosts")).unwrap(),
            "127.0.0.1 localhost\n10.0.0.1 mine\n# labctl begin\n10.1.0.2 client1.demo client1 c1\nfd01::2 client1.demo client1 c1\n# labctl end\n"
        );
        assert_eq!(fs::read_to_string(root.join("etc/hostname")).unwrap(), "client1\n");
        assert_eq!(fs::read_to_string(root.join("etc/resolv.conf")).unwrap(), "nameserver 10.1.0.1\nsearch demo\n");
        assert_eq!(fs::read_to_string(root.join("etc/ssh/ssh_host_rsa_key.pub")).unwrap(), "ssh-rsa CCCC\n");
        for secret in ["etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_rsa_key", KEPT] {
            assert_eq!(fs::metadata(root.join(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
        }
        let kept = super::super::kept(&root).unwrap();
        assert_eq!(kept.digest(), identity.digest());
        assert!(kept.entropy.is_empty(), "entropy must not be kept");
        fs::remove_dir_all(root).unwrap();
    }
}
