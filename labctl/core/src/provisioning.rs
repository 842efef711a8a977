//! Provisioning a lab: the files that nodes get, then the plays of the lab file or of a playbook.

pub(crate) mod artifacts;
pub(crate) mod channel;
mod foreign;
mod local;
mod machines;
mod node;
mod remote;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_lab::client::Supervisor;
use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::node_folder::template_of;
use labctl_lab::template::Templates;
use labctl_lab::{Failure, Kind};
use labctl_provision::{Book, EventFn, Inventory, PlaybookError, Setup, Target};
use labctl_spec::lab::{Lab, Provision};
use tokio_util::sync::CancellationToken;

use crate::baked::Fresh;
use crate::{images, shipped};

pub use labctl_provision::{Event, HostRecap, Inputs, ListedTask, Options, Recap, Status, Step, Timing};

use artifacts::StoredArtifacts;
use channel::Channel;
use node::Node;

pub use foreign::{Play, list_play, list_play_hosts, play};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The lab file's `provision` list.
    Lab,
    /// A playbook.
    Playbook(PathBuf),
}

pub(crate) fn books(lab: &Lab, what: &What) -> Vec<Book> {
    match what {
        What::Playbook(file) => vec![Book::File(file.clone())],
        What::Lab => lab
            .provision
            .iter()
            .map(|step| match step {
                Provision::Playbook(file) => Book::File(file.clone()),
                Provision::InLabFile { index } => Book::Inside { file: lab.file.clone(), list: "provision".to_owned(), index: *index },
            })
            .collect(),
    }
}

/// Role folders besides those beside a playbook: beside the lab file, above it, and those shipped with labctl.
pub(crate) fn role_paths(home: &Home, lab: &Lab) -> Result<Vec<PathBuf>, Failure> {
    let beside = lab.file.parent().unwrap_or(Path::new("."));
    Ok(vec![beside.join("roles"), beside.join("../roles"), shipped::folder(home)?.join("roles")])
}

pub(crate) fn failure(why: &PlaybookError) -> Failure {
    Failure::new(Kind::Input, why.to_string())
}

/// The tasks that would run.
pub fn list(home: &Home, lab: &Lab, what: &What, options: Options) -> Result<Vec<ListedTask>, Failure> {
    let setup = idle(Inventory::of_lab(lab));
    let options = Options { role_paths: role_paths(home, lab)?, ..options };
    labctl_provision::list_tasks(&books(lab, what), setup, options).map_err(|why| failure(&why))
}

/// The plays that would run, by name, and their hosts.
pub fn list_hosts(home: &Home, lab: &Lab, what: &What, options: Options) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let options = Options { role_paths: role_paths(home, lab)?, ..options };
    labctl_provision::list_hosts(&books(lab, what), idle(Inventory::of_lab(lab)), options).map_err(|why| failure(&why))
}

/// What is needed to read plays without running them.
fn idle(inventory: Inventory) -> Setup {
    Setup { inventory, targets: Arc::new(|_| None), artifacts: None, events: Arc::new(|_| {}), cancel: CancellationToken::new() }
}

/// A run of plays.
pub struct Run {
    /// What to run.
    pub what: What,
    /// Its options.
    pub options: Options,
    /// Receives events of the plays.
    pub events: EventFn,
    /// Stops the run between two tasks.
    pub cancel: CancellationToken,
}

/// Runs plays; `each` receives events about artifacts meanwhile. Failed tasks are not a failure of this call: the recap counts them.
pub async fn run(home: &Home, lab: &Lab, supervisor: &Supervisor, run: Run, each: Each<'_>) -> Result<Recap, Failure> {
    let mut machines: HashMap<String, Arc<dyn Target>> = HashMap::new();
    let mut fresh = Vec::new();
    for node in &lab.nodes {
        let mut machine = Arc::new(Channel::new(Node::new(supervisor.clone(), node.name.clone()))) as Arc<dyn Target>;
        let layer = template_of(&home.lab(&lab.name).node(&node.name)).and_then(|key| Templates::of(home).find(&key));
        if let Some(layered) = layer.filter(|_| run.what == What::Lab).and_then(|layer| Fresh::new(machine.clone(), &layer)) {
            let layered = Arc::new(layered);
            fresh.push((node.name.to_string(), layered.clone()));
            machine = layered;
        }
        machines.insert(node.name.to_string(), machine);
    }
    // A node is identified by its name alone, whatever connection settings a play has.
    let targets = machines::machines(home, Box::new(move |connection| machines.get(&connection.host).cloned()));
    let (notes, mut noted) = tokio::sync::mpsc::unbounded_channel();
    let setup = Setup {
        inventory: Inventory::of_lab(lab),
        targets,
        artifacts: Some(Arc::new(StoredArtifacts::new(images::store_for(home, lab)?, notes))),
        events: run.events,
        cancel: run.cancel,
    };
    let options = Options { role_paths: role_paths(home, lab)?, ..run.options };
    let whole = is_whole(&options);
    let books = books(lab, &run.what);
    let running = labctl_provision::run(&books, setup, options);
    tokio::pin!(running);
    let recap = loop {
        tokio::select! {
            recap = &mut running => break recap.map_err(|why| failure(&why))?,
            Some(event) = noted.recv() => each(event),
        }
    };
    for (node, layered) in fresh {
        if whole && recap.hosts.get(&node).is_some_and(|host| host.failed + host.unreachable == 0) {
            let noted = layered.provisioned().await;
            noted.map_err(|why| Failure::new(Kind::Machine, why.to_string()))?;
        }
    }
    Ok(recap)
}

/// Whether nothing is left out.
fn is_whole(options: &Options) -> bool {
    let everything = options.tags.is_empty() && options.skip_tags.is_empty() && options.start_at_task.is_none();
    everything && options.step.is_none() && !options.check
}
