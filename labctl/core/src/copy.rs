//! Copies that somebody asks for: from the host to a node, back, and between nodes.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_guest::{GuestError, tree};
use labctl_lab::client::Supervisor;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_tree::{Manifest, Receiver, Rules, walk};
use labctl_wire::tree::{MODE_BITS, Receive, Received, Sent};
use serde::Serialize;
use serde_bytes::ByteBuf;

/// A place in a node.
#[derive(Debug, Clone)]
pub struct Inside {
    /// The node.
    pub node: NodeName,
    /// Path; a relative one is below root's home.
    pub path: String,
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

/// Permission bits of a file that comes from standard input.
const STREAM_MODE: u32 = 0o644;

impl Inside {
    fn bytes(&self) -> ByteBuf {
        ByteBuf::from(self.path.as_bytes())
    }

    /// The path with its end, if it has one.
    fn absolute(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/root/{}", self.path) }
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

    fn failed(&self) -> impl Fn(GuestError) -> Failure {
        let place = format!("{}:{}", self.node, self.path);
        move |why| {
            let failure = Failure::from(why);
            let missing = failure.message.contains("No such file or directory");
            let kind = if missing && failure.kind == Kind::Machine { Kind::NotFound } else { failure.kind };
            Failure { kind, message: format!("{place}: {}", failure.message), ..failure }
        }
    }
}

/// Copies a file or folder of the host to a node.
pub async fn to_node(supervisor: &Supervisor, from: &Path, to: &Inside, owner: Option<&str>) -> Result<Copied, Failure> {
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
    let received = agent.send_tree(request, Arc::new(manifest), None, Box::new(|_| {})).await.map_err(to.failed())?;
    finish(&to.node, received, Sent { skipped, ..Sent::default() })
}

/// Writes everything from a stream to a file in a node.
pub async fn stream_to_node(
    supervisor: &Supervisor,
    stream: Box<dyn io::Read + Send>,
    to: &Inside,
    owner: Option<&str>,
) -> Result<Copied, Failure> {
    let agent = supervisor.agent(&to.node).await?;
    let manifest = Arc::new(Manifest::of_stream(STREAM_MODE & MODE_BITS));
    let received = agent.send_tree(to.request(None, owner), manifest, Some(stream), Box::new(|_| {})).await.map_err(to.failed())?;
    finish(&to.node, received, Sent::default())
}

/// Copies a file or folder of a node to the host.
pub async fn from_node(supervisor: &Supervisor, from: &Inside, to: &Path) -> Result<Copied, Failure> {
    let path = std::path::absolute(to).map_err(Failure::io(to.display()))?;
    let agent = supervisor.agent(&from.node).await?;
    let how = Receiver { path, into: Some(from.name()), ..Receiver::default() };
    let (received, sent) = agent.receive_tree(from.bytes(), how, Box::new(|_| {})).await.map_err(from.failed())?;
    finish(&from.node, received, sent)
}

/// Writes a node's file to standard output.
pub async fn to_stdout(supervisor: &Supervisor, from: &Inside) -> Result<(), Failure> {
    let agent = supervisor.agent(&from.node).await?;
    agent.get(&from.absolute(), tokio::io::stdout()).await.map(drop).map_err(from.failed())
}

/// Copies from one node to another one.
pub async fn between(supervisor: &Supervisor, from: &Inside, to: &Inside, owner: Option<&str>) -> Result<Copied, Failure> {
    let (source, target) = tokio::try_join!(supervisor.agent(&from.node), supervisor.agent(&to.node))?;
    let request = to.request(Some(&from.name()), owner);
    let (received, sent) = tree::between(&source, from.bytes(), &target, request).await.map_err(from.failed())?;
    finish(&to.node, received, sent)
}

fn finish(node: &NodeName, received: Received, sent: Sent) -> Result<Copied, Failure> {
    let faults = [received.faults, sent.faults].concat();
    if !faults.is_empty() {
        return Err(Failure::new(Kind::Machine, format!("{node}: {}", faults.join("\n"))).hint("everything else was copied"));
    }
    Ok(Copied { written: received.written, folders: received.folders, bytes: received.bytes, skipped: sent.skipped })
}
