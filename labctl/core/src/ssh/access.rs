//! How OpenSSH, and whatever uses it, reaches a lab's nodes.

use std::path::{Path, PathBuf};

use labctl_lab::home::Home;
use labctl_lab::record::{NodeRecord, Record, names};
use labctl_lab::{Failure, Kind, persist};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Node;

/// What all nodes have in common.
#[derive(Debug)]
pub struct Access<'a> {
    record: &'a Record,
    /// The lab's private key, a file that only this user can read.
    pub key: PathBuf,
    known: PathBuf,
    /// This program and its environment, for a shell: a program that reads this may have another environment.
    labctl: String,
}

impl<'a> Access<'a> {
    /// Writes the lab's private key and the pinned host keys beside the lab's record.
    pub fn prepare(home: &Home, record: &'a Record) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::io("cannot find labctl's own program"))?;
        let labctl = format!("env LABCTL_HOME={} {}", for_shell(home.data())?, for_shell(&program)?);
        let home = home.lab(&record.lab.name);
        let (key, known) = (home.folder().join("id_ed25519"), home.folder().join("known_hosts"));
        persist::write(&key, format!("{}\n", record.ssh_key.private.trim_end()).as_bytes())?;
        persist::write(&known, known_hosts(record).as_bytes())?;
        Ok(Self { record, key, known, labctl })
    }

    /// A node's options of ssh_config(5), their values as written there.
    pub fn options(&self, node: &Node) -> Result<Vec<(&'static str, String)>, Failure> {
        let proxy = format!("{} --lab {} ssh --proxy {}", self.labctl, self.record.lab.name, node.name);
        Ok(vec![
            ("HostKeyAlias", alias(self.record, &node.name)),
            ("User", node.login().to_owned()),
            ("IdentityFile", quoted(&self.key)?),
            ("IdentitiesOnly", "yes".to_owned()),
            ("UserKnownHostsFile", quoted(&self.known)?),
            ("GlobalKnownHostsFile", "none".to_owned()),
            ("StrictHostKeyChecking", "yes".to_owned()),
            ("UpdateHostKeys", "no".to_owned()),
            ("ProxyCommand", proxy),
        ])
    }
}

/// Configuration for ssh(1) and tools that use it, for these nodes (all if none is named).
pub fn config(home: &Home, record: &Record, nodes: &[NodeName]) -> Result<String, Failure> {
    let access = Access::prepare(home, record)?;
    let mut text = String::new();
    for node in record.lab.nodes.iter().filter(|node| nodes.is_empty() || nodes.contains(&node.name)) {
        text += &format!("Host {}\n  HostName {}\n", names(node).join(" "), node.name);
        for (option, value) in access.options(node)? {
            text += &format!("  {option} {value}\n");
        }
        text.push('\n');
    }
    Ok(text)
}

/// Writes the configuration for all nodes beside the lab's record, and returns the file.
pub fn config_file(home: &Home, record: &Record) -> Result<PathBuf, Failure> {
    let file = home.lab(&record.lab.name).folder().join("ssh_config");
    persist::write(&file, config(home, record, &[])?.as_bytes())?;
    Ok(file)
}

/// The name under which a node's key is pinned: nodes of other labs may have the same host names.
fn alias(record: &Record, node: &NodeName) -> String {
    format!("{node}.{}.labctl", record.lab.name)
}

fn known_hosts(record: &Record) -> String {
    let of = |(name, kept): (&NodeName, &NodeRecord)| {
        let keys = std::iter::once(&kept.host_key).chain(&kept.more_host_keys);
        keys.map(|key| format!("{} {}\n", alias(record, name), key.public.trim_end())).collect::<String>()
    };
    record.nodes.iter().map(of).collect()
}

fn unwritable(path: &Path) -> Failure {
    Failure::new(Kind::Host, format!("{}: this path cannot be written in ssh_config", path.display()))
        .hint("set LABCTL_HOME to a folder whose path has no quotes, backslashes, `$` or line breaks")
}

/// Formats a path for ssh_config(5): in quotes, with `%` doubled.
fn quoted(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\n', '\r', '\\', '$']) => Ok(format!("\"{}\"", text.replace('%', "%%"))),
        _ => Err(unwritable(path)),
    }
}

/// Formats a path for ProxyCommand, which a shell interprets after ssh has replaced `%`.
fn for_shell(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r']) => Ok(format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))),
        _ => Err(unwritable(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_finds_the_home_from_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("it's 100%"), &folder.path().join("run")).unwrap();
        let lab = labctl_spec::parse_lab("name: t\nnodes: [{name: a}]\n", Path::new("/t.yml")).unwrap();
        let record = Record::prepare(&home, lab).unwrap();
        let text = config(&home, &record, &[]).unwrap();
        let proxy = text.lines().find_map(|line| line.trim().strip_prefix("ProxyCommand ")).unwrap().replace("%%", "%");
        let shown = std::process::Command::new("sh").args(["-c", &proxy.replacen("env", "printf '%s\\n'", 1)]).output().unwrap();
        let words = String::from_utf8(shown.stdout).unwrap();
        let words: Vec<&str> = words.lines().collect();
        assert_eq!(words[0], format!("LABCTL_HOME={}", home.data().display()));
        assert_eq!(words[2..], ["--lab", "t", "ssh", "--proxy", "a"]);
    }
}
