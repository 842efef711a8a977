//! Copies that somebody asks for: from the host to a node, back, and between nodes.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_guest::tree::Side;
use labctl_guest::{GuestError, tree};
use labctl_lab::client::Supervisor;
use labctl_lab::event::Each;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_tree::{Manifest, Receiver, Rules, walk};
use labctl_wire::tree::{MODE_BITS, Receive, Received, Sent};
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::io::AsyncWrite;

use crate::passing::shown;

/// A place in a node.
#[derive(Debug, Clone)]
pub struct Inside {
    /// The node.
    pub node: NodeName,
    /// Path; a relative one is below root's home.
    pub path: OsString,
}

/// What a copy came to.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// Files and links that were written. What the target had already is not counted.
    pub written: u64,
    /// Folders that were made.
    pub folders: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Special files that were left out, each with what it is.
    pub skipped: Vec<String>,
}

/// What is done, beside a progress bar.
const STEP: &str = "copying";

/// Permission bits of a file that comes from standard input.
const STREAM_MODE: u32 = 0o644;

impl Inside {
    fn bytes(&self) -> ByteBuf {
        ByteBuf::from(self.path.as_bytes())
    }

    /// The path with its end, if it has one.
    fn absolute(&self) -> OsString {
        if self.path.as_bytes().starts_with(b"/") { self.path.clone() } else { Path::new("/root").join(&self.path).into_os_string() }
    }

    /// The name of what is there.
    fn name(&self) -> PathBuf {
        Path::new(&self.absolute()).file_name().map_or_else(|| PathBuf::from(self.node.as_str()), PathBuf::from)
    }

    fn request(&self, name: Option<&Path>, owner: Option<&str>) -> Receive {
        Receive {
            path: self.bytes(),
            into: name.map(|name| ByteBuf::from(name.as_os_str().as_bytes())),
            owner: owner.map(str::to_owned),
            ..Receive::default()
        }
    }

    /// As it is written on a command line.
    fn shown(&self) -> String {
        format!("{}:{}", self.node, self.path.display())
    }

    fn failed(&self) -> impl Fn(GuestError) -> Failure {
        let place = self.shown();
        move |why| {
            let failure = Failure::from(why);
            let missing = failure.message.contains("No such file or directory");
            let kind = if missing && failure.kind == Kind::Machine { Kind::NotFound } else { failure.kind };
            Failure { kind, message: format!("{place}: {}", failure.message), ..failure }
        }
    }
}

/// Copies a file or folder of the host to a node.
pub async fn to_node(supervisor: &Supervisor, from: &Path, to: &Inside, owner: Option<&str>, each: Each<'_>) -> Result<Copied, Failure> {
    let root = std::path::absolute(from).map_err(Failure::io(from.display()))?;
    if root.symlink_metadata().is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
        return Err(Failure::new(Kind::NotFound, format!("{} does not exist", root.display())).hint("nothing was copied"));
    }
    let manifest = walk::all(&root, &Rules::default(), None);
    if !manifest.faults.is_empty() {
        return Err(Failure::new(Kind::Host, manifest.faults.join("\n")).hint("nothing was copied"));
    }
    // `.` and `..` have names, too.
    let name = root.file_name().map(PathBuf::from).or_else(|| root.canonicalize().ok()?.file_name().map(PathBuf::from));
    let skipped = manifest.skipped.clone();
    let agent = supervisor.agent(&to.node).await?;
    let request = to.request(name.as_deref(), owner);
    let copy = |progress| agent.send_tree(request, Arc::new(manifest), None, progress);
    let received = shown(&to.shown(), STEP, each, copy).await.map_err(to.failed())?;
    finish(&to.node, received, Sent { skipped, ..Sent::default() })
}

/// Writes everything from a stream to a file in a node.
pub async fn stream_to_node(
    supervisor: &Supervisor,
    stream: Box<dyn io::Read + Send>,
    to: &Inside,
    owner: Option<&str>,
    each: Each<'_>,
) -> Result<Copied, Failure> {
    let agent = supervisor.agent(&to.node).await?;
    let manifest = Arc::new(Manifest::of_stream(STREAM_MODE & MODE_BITS));
    let copy = |progress| agent.send_tree(to.request(None, owner), manifest, Some(stream), progress);
    let received = shown(&to.shown(), STEP, each, copy).await.map_err(to.failed())?;
    finish(&to.node, received, Sent::default())
}

/// Copies a file or folder of a node to the host.
pub async fn from_node(supervisor: &Supervisor, from: &Inside, to: &Path, each: Each<'_>) -> Result<Copied, Failure> {
    let path = std::path::absolute(to).map_err(Failure::io(to.display()))?;
    let agent = supervisor.agent(&from.node).await?;
    let how = Receiver { path, into: Some(from.name()), ..Receiver::default() };
    let copy = |progress| agent.receive_tree(from.bytes(), how, progress);
    let (received, sent) = shown(&from.shown(), STEP, each, copy).await.map_err(from.failed())?;
    finish(&from.node, received, sent)
}

/// Writes a node's file to `sink`, the bytes as they are.
pub async fn print(supervisor: &Supervisor, from: &Inside, sink: impl AsyncWrite + Unpin) -> Result<(), Failure> {
    let agent = supervisor.agent(&from.node).await?;
    agent.get(&from.absolute(), sink).await.map(drop).map_err(from.failed())
}

/// Copies from one node to another one.
pub async fn between(supervisor: &Supervisor, from: &Inside, to: &Inside, owner: Option<&str>, each: Each<'_>) -> Result<Copied, Failure> {
    let (source, target) = tokio::try_join!(supervisor.agent(&from.node), supervisor.agent(&to.node))?;
    let request = to.request(Some(&from.name()), owner);
    let copy = |progress| tree::between(&source, from.bytes(), &target, request, progress);
    let (received, sent) = shown(&to.shown(), STEP, each, copy).await.map_err(|(side, why)| match side {
        Side::From => from.failed()(why),
        Side::To => to.failed()(why),
    })?;
    finish(&to.node, received, sent)
}

fn finish(node: &NodeName, received: Received, sent: Sent) -> Result<Copied, Failure> {
    let faults = [received.faults, sent.faults].concat().iter().map(|fault| printable(fault)).collect::<Vec<_>>();
    if !faults.is_empty() {
        return Err(Failure::new(Kind::Machine, format!("{node}: {}", faults.join("\n"))).hint("everything else was copied"));
    }
    let skipped = sent.skipped.iter().map(|name| printable(name)).collect();
    Ok(Copied { written: received.written, folders: received.folders, bytes: received.bytes, skipped })
}

/// Names in a guest are not its host's terminal's business.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_names_do_not_drive_the_terminal() {
        let node: NodeName = "a".parse().unwrap();
        let sent = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let done = finish(&node, Received::default(), Sent { skipped: sent(&["x\u{1b}[2J (a FIFO)"]), faults: Vec::new() }).unwrap();
        assert_eq!(done.skipped, ["x\u{fffd}[2J (a FIFO)"]);
        let failure = finish(&node, Received::default(), Sent { skipped: Vec::new(), faults: sent(&["\r/x: no", "/y: no"]) }).unwrap_err();
        assert_eq!(failure.message, "a: \u{fffd}/x: no\n/y: no");
    }
}
