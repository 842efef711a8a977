//! Files and folders of the host that nodes have copies of.
//!
//! ```text
//! look at each folder once ([`Tree`]) ─▶ for each node, one stream for each of its copies ([`Copy`])
//! ```

mod changes;
#[cfg(target_os = "linux")]
mod inotify;
mod tree;
mod watch;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use labctl_guest::Agent;
use labctl_lab::client::Supervisor;
use labctl_lab::event::{Each, Event};
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Lab, Node, Sync};
use labctl_wire::tree::{Receive, Received, Removal};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::passing::shown;
use tree::{Tree, Trees};

pub use tree::digest;
pub use watch::watch;

/// What a node gets a copy of.
#[derive(Debug, Clone)]
struct Copy {
    node: NodeName,
    sync: Sync,
    /// Places of the node's other copies that are below this one's.
    spare: Vec<ByteBuf>,
}

/// Why a copy is not complete.
enum Incomplete {
    /// It ended early.
    Ended(Failure),
    /// These things could not be copied; everything else was.
    But(Failure),
}

impl Copy {
    /// The node's copies, in the order of the lab file.
    fn all(node: &Node) -> Vec<Self> {
        let spare = |sync: &Sync| {
            let below =
                node.sync.iter().filter_map(|other| other.to.strip_prefix(&sync.to).ok()).filter(|path| !path.as_os_str().is_empty());
            below.map(|path| ByteBuf::from(path.as_os_str().as_bytes())).collect()
        };
        node.sync.iter().map(|sync| Self { node: node.name.clone(), sync: sync.clone(), spare: spare(sync) }).collect()
    }

    fn request(&self, tree: &Tree, partial: bool) -> Receive {
        Receive {
            path: ByteBuf::from(self.sync.to.as_os_str().as_bytes()),
            into: tree.name(),
            owner: self.sync.owner.clone(),
            removal: match self.sync.delete {
                None => Removal::Brought,
                Some(true) => Removal::Foreign,
                Some(false) => Removal::Never,
            },
            record: true,
            partial,
            rules: tree.rules.lines().to_vec(),
            spare: self.spare.clone(),
        }
    }

    /// Brings the tree, or the part of it that is in its manifest, to the node.
    async fn bring(&self, agent: &Agent, tree: &Tree, partial: bool, each: Each<'_>) -> Result<Event, Incomplete> {
        let begin = Instant::now();
        let copy = |progress| agent.send_tree(self.request(tree, partial), tree.manifest.clone(), None, progress);
        let place = format!("{}:{}", self.node, self.sync.to.display());
        let done = shown(&place, "sync", each, copy).await.map_err(|why| {
            let failure = Failure::from(why);
            let message = format!("{}: sync to {}: {}", self.node, self.sync.to.display(), failure.message);
            Incomplete::Ended(Failure { message, ..failure })
        })?;
        if !done.faults.is_empty() {
            let lines: Vec<String> = done.faults.iter().map(|fault| format!("{}: {fault}", self.node)).collect();
            return Err(Incomplete::But(Failure::new(Kind::Machine, lines.join("\n"))));
        }
        Ok(self.event(&done, begin))
    }

    fn event(&self, done: &Received, begin: Instant) -> Event {
        Event::Synced {
            node: self.node.clone(),
            from: self.sync.from.display().to_string(),
            to: self.sync.to.display().to_string(),
            written: done.written,
            bytes: done.bytes,
            folders: done.folders,
            removed: done.removed,
            ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The nodes that are meant; all if none are named.
fn meant<'a>(lab: &'a Lab, nodes: &'a [NodeName]) -> impl Iterator<Item = &'a Node> {
    lab.nodes.iter().filter(move |node| !node.sync.is_empty() && (nodes.is_empty() || nodes.contains(&node.name)))
}

/// Brings the files that the lab file names to `nodes` (all if empty); `each` hears of every copy. What cannot be read on the host is
/// reported before anything is changed.
pub async fn run(lab: &Lab, supervisor: &Supervisor, nodes: &[NodeName], each: Each<'_>) -> Result<(), Failure> {
    let mut trees = Trees::default();
    let mut copies: Vec<Vec<(Copy, Tree)>> = Vec::new();
    for node in meant(lab, nodes) {
        copies.push(Copy::all(node).into_iter().map(|copy| (copy.clone(), trees.look(&copy.sync))).collect());
    }
    for skipped in trees.judge()? {
        each(Event::Note { text: skipped });
    }
    let (events, mut happened) = mpsc::unbounded_channel();
    let mut works = JoinSet::new();
    for copies in copies {
        let (supervisor, events) = (supervisor.clone(), events.clone());
        works.spawn(async move {
            let Some((first, _)) = copies.first() else { return Vec::new() };
            let agent = match supervisor.agent(&first.node).await {
                Ok(agent) => agent,
                Err(why) => return vec![why],
            };
            let mut failures = Vec::new();
            // Its receiver lives as long as this task.
            let each = |event| drop(events.send(event));
            for (copy, tree) in &copies {
                match copy.bring(&agent, tree, false, &each).await {
                    Ok(event) => each(event),
                    Err(Incomplete::Ended(why) | Incomplete::But(why)) => failures.push(why),
                }
            }
            failures
        });
    }
    drop(events);
    while let Some(event) = happened.recv().await {
        each(event);
    }
    let mut failures = Vec::new();
    while let Some(work) = works.join_next().await {
        failures.extend(work.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?);
    }
    together(failures)
}

/// Several failures as one: the first one's kind and hint, everybody's message.
fn together(failures: Vec<Failure>) -> Result<(), Failure> {
    let message = failures.iter().map(|failure| failure.message.clone()).collect::<Vec<_>>().join("\n");
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Failure { message, ..first }),
    }
}

/// Name of the file in a synced folder with more rules of what is left out.
const RULES: &str = ".labctlignore";

/// Where the rules of a folder are.
fn rules_file(sync: &Sync) -> PathBuf {
    sync.from.join(RULES)
}
