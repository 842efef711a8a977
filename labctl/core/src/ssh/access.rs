//! How OpenSSH, and whatever uses it, reaches a lab's nodes.

use std::path::{Path, PathBuf};

use labctl_lab::home::LabHome;
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
    program: PathBuf,
}

impl<'a> Access<'a> {
    /// Writes the lab's private key and the pinned host keys beside the lab's record.
    pub fn prepare(home: &LabHome, record: &'a Record) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::io("cannot find labctl's own program"))?;
        let (key, known) = (home.folder().join("id_ed25519"), home.folder().join("known_hosts"));
        persist::write(&key, format!("{}\n", record.ssh_key.private.trim_end()).as_bytes())?;
        persist::write(&known, known_hosts(record).as_bytes())?;
        Ok(Self { record, key, known, program })
    }

    /// A node's options of ssh_config(5), their values as written there.
    pub fn options(&self, node: &Node) -> Result<Vec<(&'static str, String)>, Failure> {
        let proxy = format!("{} --lab {} ssh --proxy {}", for_shell(&self.program)?, self.record.lab.name, node.name);
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
pub fn config(home: &LabHome, record: &Record, nodes: &[NodeName]) -> Result<String, Failure> {
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

/// The name under which a node's key is pinned: nodes of other labs may have the same host names.
fn alias(record: &Record, node: &NodeName) -> String {
    format!("{node}.{}.labctl", record.lab.name)
}

fn known_hosts(record: &Record) -> String {
    let line = |(name, kept): (&NodeName, &NodeRecord)| format!("{} {}\n", alias(record, name), kept.host_key.public.trim_end());
    record.nodes.iter().map(line).collect()
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

/// Formats a program for ProxyCommand, which a shell interprets after ssh has replaced `%`.
fn for_shell(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r']) => Ok(format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))),
        _ => Err(unwritable(path)),
    }
}
