//! Trees that are copied into the guest and out of it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use labctl_tree::{Owner, Pipe, Receiver, Rules, Source, TreeError, walk};
use labctl_wire::tree::{Receive, Sent};
use labctl_wire::{AgentError, ErrorKind, ModuleCall, Reply, Stream};

use super::channel::{Channel, Input};
use super::failed;
use crate::accounts;

/// The request's stream as the tree's.
struct Batches<'a>(&'a Channel);

impl Pipe for Batches<'_> {
    fn send(&mut self, batch: Vec<u8>) -> io::Result<()> {
        self.0.send_when_allowed(Stream::Out, batch).map_err(io::Error::other)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.0.next_input().map_err(io::Error::other)? {
            Input::Data(batch) => Ok(batch),
            Input::End => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Writes the tree that the controller sends.
pub fn receive(request: &Receive, channel: &Channel) -> Result<Reply, AgentError> {
    let how = Receiver {
        path: absolute(&request.path),
        into: request.into.as_deref().map(|name| PathBuf::from(OsStr::from_bytes(name))),
        owner: request.owner.as_deref().map(owner).transpose().map_err(failed("owner"))?.unwrap_or_default(),
        removal: request.removal,
        records: request.record.then(|| Path::new(&ModuleCall::state_folder()).join("sync")),
        partial: request.partial,
        rules: Rules::new(request.rules.clone()).map_err(|why| invalid(why.to_string()))?,
        spare: request.spare.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect(),
    };
    labctl_tree::receive(&how, &mut Batches(channel), &mut |_| {}).map(Reply::Received).map_err(ended)
}

/// Sends a tree to the controller.
pub fn send(path: &[u8], channel: &Channel) -> Result<Reply, AgentError> {
    let path = absolute(path);
    let manifest = walk::all(&path, &Rules::default(), None);
    if manifest.items.is_empty() {
        let kind = if path.symlink_metadata().is_err() { ErrorKind::NotFound } else { ErrorKind::Invalid };
        return Err(AgentError { kind, message: manifest.faults.join("\n") });
    }
    let mut source = Source { manifest: &manifest, stream: None, progress: &mut |_| {} };
    let unread = labctl_tree::send(&mut source, &mut Batches(channel)).map_err(ended)?;
    Ok(Reply::Sent(Sent { skipped: manifest.skipped, faults: [manifest.faults, unread].concat() }))
}

fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/root").join(OsStr::from_bytes(path))
}

/// `USER`, `USER:GROUP` or `:GROUP`. A user that has an account brings its group along.
fn owner(text: &str) -> io::Result<Owner> {
    let root = Path::new("/");
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let mut owner = Owner::default();
    if !user.is_empty() {
        match (accounts::find(root, user), user.parse()) {
            (Ok(account), _) => owner = Owner { user: Some(account.uid), group: Some(account.gid) },
            (Err(_), Ok(id)) => owner.user = Some(id),
            (Err(why), Err(_)) => return Err(why),
        }
    }
    if !group.is_empty() {
        owner.group = Some(accounts::group_id(root, group)?);
    }
    Ok(owner)
}

fn ended(why: TreeError) -> AgentError {
    let kind = match &why {
        TreeError::Ended(_) => ErrorKind::Cancelled,
        TreeError::Invalid(_) => ErrorKind::Invalid,
        TreeError::Stopped(_) => ErrorKind::Io,
    };
    AgentError { kind, message: why.to_string() }
}

fn invalid(message: String) -> AgentError {
    AgentError { kind: ErrorKind::Invalid, message }
}
