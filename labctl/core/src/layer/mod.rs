//! Baked layers: templates of nodes on which the shared part of provisioning has already been done.
//!
//! Tasks with the tag `bake` (unknown to Ansible itself) are run once on a builder, a fork that belongs to no lab. Everything sent to it
//! and every answer is recorded, each step under a hash of the stock template and of all steps up to it. So the key of a layer covers every
//! input by construction: not the files that tasks were made from, but what they evaluated to, content included.
//!
//! ```text
//! choose: run the baked tasks of each new node against the notes ([`Replay`]) ─▶ all steps known ─▶ fork from that layer
//!                                                   │ a step is unknown, for several nodes alike
//!                                                   ▼
//!                       run them on a builder ([`Recorder`]) ─▶ save it as a layer ─▶ choose again
//!
//! provisioning: what the layer changed counts as changed by the first run on a fork ([`Fresh`](crate::baked::Fresh)),
//!               so handlers run and results read as if there were no layers
//! ```
//!
//! A builder has nothing that is specific to a node: its facts are those of the platform. Tasks that need more fail on it; then there is no
//! layer, and a reason is given.

mod build;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use labctl_lab::Failure;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::Home;
use labctl_lab::node_folder::template_of;
use labctl_lab::record::Record;
use labctl_lab::template::{Plan, Template, Templates};
use labctl_provision::{Event as PlayEvent, EventFn, Inventory, Options, Setup, SleepFn, Status, Target};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::baked::{Known, lock};
use crate::images;
use crate::provisioning::artifacts::StoredArtifacts;
use crate::provisioning::{self, What};

pub use crate::baked::{Layer, Step};

use replay::Replay;

/// Tasks with this tag are baked.
pub const TAG: &str = "bake";

/// What is known of a node's baked tasks.
#[derive(Debug, Clone)]
struct Planned {
    /// Hash of the stock template and of the known steps.
    chain: String,
    /// The known steps.
    steps: Vec<Step>,
    /// Why they are incomplete.
    stopped: Option<Stopped>,
}

impl Planned {
    /// Whether any step changed something.
    fn does_anything(&self) -> bool {
        self.steps.iter().any(Step::changed)
    }

    /// The layer with exactly these steps, if there is one.
    fn layer(&self, home: &Home) -> Option<Template> {
        Templates::of(home).find(&self.chain).filter(|_| self.stopped.is_none() && self.does_anything())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stopped {
    /// The next step has not been baked yet.
    New(String),
    /// A task cannot be baked.
    Never(String),
}

/// Assigns layers to those nodes of the plan that share baked tasks with others; makes the missing layers. A layer that cannot be made is
/// not a failure: its nodes are forked from the stock template and provisioned one by one.
pub async fn choose(home: &Home, record: &Record, plan: &mut Plan, each: Each<'_>) -> Result<(), Failure> {
    let lab = &record.lab;
    if !any(home, lab)? {
        return Ok(());
    }
    let stock: BTreeMap<NodeName, Template> =
        plan.forks.iter().filter(|(name, _)| lab.node(name).is_some()).map(|(name, template)| (name.clone(), template.clone())).collect();
    if stock.is_empty() {
        return Ok(());
    }
    let mut tried = BTreeSet::new();
    loop {
        let known = Arc::new(Known::load(home));
        let mut planned = BTreeMap::new();
        for (name, template) in &stock {
            planned.insert(name, plan_one(home, lab, name, template, &known, each).await?);
        }
        let mut missing: BTreeMap<&String, Vec<&NodeName>> = BTreeMap::new();
        for (&name, one) in &planned {
            match (one.layer(home), &one.stopped) {
                (Some(layer), _) => {
                    layer.touch(home);
                    plan.forks.insert(name.clone(), layer);
                }
                (None, Some(Stopped::Never(why))) => {
                    if tried.insert(format!("{name}: {why}")) {
                        each(Event::Note { text: format!("{name} gets no baked layer: {why}") });
                    }
                }
                (None, None) if !one.does_anything() => {}
                (None, _) => missing.entry(&one.chain).or_default().push(name),
            }
        }
        // Tasks that only one node needs are run on that node.
        let Some((chain, nodes)) = missing.into_iter().find(|(chain, nodes)| nodes.len() > 1 && !tried.contains(*chain)) else {
            return Ok(());
        };
        tried.insert(chain.clone());
        let (Some(first), names) = (nodes.first(), nodes.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")) else {
            return Ok(());
        };
        if let Err(why) = build::make(home, record, record.node(first)?, &stock[*first], chain, each).await? {
            each(Event::Note { text: format!("{names}: no baked layer: {why}; they are provisioned one by one") });
        }
    }
}

/// Whether any task is tagged for baking.
fn any(home: &Home, lab: &Lab) -> Result<bool, Failure> {
    if lab.provision.is_empty() {
        return Ok(false);
    }
    let options = Options { tags: vec![TAG.to_owned()], ..Options::default() };
    Ok(provisioning::list(home, lab, &What::Lab, options)?.iter().any(|task| task.tags.iter().any(|tag| tag == TAG)))
}

/// Runs a node's baked tasks against the known steps: alone, as on a builder.
async fn plan_one(
    home: &Home,
    lab: &Lab,
    node: &NodeName,
    stock: &Template,
    known: &Arc<Known>,
    each: Each<'_>,
) -> Result<Planned, Failure> {
    let replay = Arc::new(Replay::new(known.clone(), &stock.key));
    let reasons = Reasons::default();
    let ran = bake(home, lab, node, replay.clone(), reasons.events(), Pace::AtOnce, each).await?;
    let mut planned = replay.planned();
    if !ran && planned.stopped.is_none() {
        planned.stopped = Some(Stopped::Never(reasons.of(node)));
    }
    Ok(planned)
}

/// Whether to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// A machine does the work.
    Real,
    /// Known answers are only replayed.
    AtOnce,
}

/// Runs a node's baked tasks on a target; returns whether all succeeded. Handlers wait for the real run.
async fn bake(
    home: &Home,
    lab: &Lab,
    node: &NodeName,
    target: Arc<dyn Target>,
    events: EventFn,
    pace: Pace,
    each: Each<'_>,
) -> Result<bool, Failure> {
    let host = node.to_string();
    let (notes, mut noted) = tokio::sync::mpsc::unbounded_channel();
    let setup = Setup {
        inventory: Inventory::of_lab(lab),
        // No baked task may act on the controller.
        targets: Arc::new(move |connection| (connection.host == host && !connection.local).then(|| target.clone())),
        artifacts: Some(Arc::new(StoredArtifacts::new(images::store_for(home, lab)?, notes))),
        events,
        cancel: CancellationToken::new(),
    };
    let options = Options {
        tags: vec![TAG.to_owned()],
        limit: Some(node.to_string()),
        role_paths: provisioning::role_paths(home, lab)?,
        without_handlers: true,
        sleep: (pace == Pace::AtOnce).then(|| Arc::new(|_| Box::pin(async {}) as BoxFuture<'static, ()>) as SleepFn),
        ..Options::default()
    };
    let books = provisioning::books(lab, &What::Lab);
    let running = labctl_provision::run(&books, setup, options);
    tokio::pin!(running);
    let recap = loop {
        tokio::select! {
            recap = &mut running => break recap.map_err(|why| provisioning::failure(&why))?,
            Some(event) = noted.recv() => each(event),
        }
    };
    Ok(recap.hosts.get(node.as_str()).is_none_or(|host| host.failed + host.unreachable == 0))
}

/// The last failed task of each host, and why; the current task.
#[derive(Debug, Clone, Default)]
struct Reasons {
    failed: Arc<Mutex<HashMap<String, String>>>,
    task: Arc<Mutex<String>>,
}

impl Reasons {
    fn events(&self) -> EventFn {
        let reasons = self.clone();
        Arc::new(move |event| match event {
            PlayEvent::TaskStart { name, .. } => *lock(&reasons.task) = name,
            PlayEvent::HostResult { host, task, status: Status::Failed | Status::Unreachable, result, .. } => {
                let said = result.get("msg").and_then(serde_json::Value::as_str).unwrap_or("it failed");
                lock(&reasons.failed).insert(host, format!("task `{task}`: {said}"));
            }
            _ => {}
        })
    }

    fn of(&self, node: &NodeName) -> String {
        lock(&self.failed).get(node.as_str()).cloned().unwrap_or_else(|| "its baked tasks did not finish".to_owned())
    }
}

/// A step that a new node finds already done. The answer is not shown: it may contain secrets.
#[derive(Debug, Clone, Serialize)]
pub struct Reused {
    /// Name of the task.
    pub task: String,
    /// Short name of its module.
    pub module: String,
    /// Whether it changed the builder.
    pub changed: bool,
    /// Hash of the stock template and of all steps up to this one.
    pub chain: String,
}

/// What a node would be forked from now, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// The node.
    pub node: NodeName,
    /// Key of the template or layer that its disk is based on now, if it was forked.
    pub rests_on: Option<String>,
    /// Key of the stock template of its shape; none if it does not exist yet.
    pub stock: Option<String>,
    /// Key of the layer that a new node would be forked from.
    pub layer: Option<String>,
    /// Its baked tasks as far as they are known.
    pub steps: Vec<Reused>,
    /// Why there is no layer for it.
    pub reason: Option<String>,
}

/// Explains what a node is forked from, and what it would be forked from now.
pub async fn why(home: &Home, lab: &Lab, node: &NodeName, each: Each<'_>) -> Result<Why, Failure> {
    let rests_on = template_of(&home.lab(&lab.name).node(node));
    let nothing = |reason: &str| Why {
        node: node.clone(),
        rests_on: rests_on.clone(),
        stock: None,
        layer: None,
        steps: Vec::new(),
        reason: Some(reason.to_owned()),
    };
    let Some(stock) = crate::template::stock(home, lab, node, each).await? else {
        return Ok(nothing("there is no stock template of its shape yet; `labctl image template build` makes it"));
    };
    if !any(home, lab)? {
        return Ok(Why { stock: Some(stock.key), ..nothing("no task has the tag `bake`") });
    }
    let planned = plan_one(home, lab, node, &stock, &Arc::new(Known::load(home)), each).await?;
    let (layer, does_anything) = (planned.layer(home), planned.does_anything());
    let reason = match (&layer, planned.stopped) {
        (Some(_), _) => None,
        (None, Some(Stopped::New(next))) => Some(format!("not baked yet: {next}; `up` bakes the tasks that two or more new nodes share")),
        (None, Some(Stopped::Never(why))) => Some(why),
        (None, None) if !does_anything => Some("none of its tasks with the tag `bake` changes anything".to_owned()),
        (None, None) => {
            Some("other nodes have further steps after these; `up` makes a layer when two or more new nodes need it".to_owned())
        }
    };
    let reused = |step: Step| Reused { changed: step.changed(), task: step.task, module: step.module, chain: step.chain };
    let steps = planned.steps.into_iter().map(reused).collect();
    Ok(Why { node: node.clone(), rests_on, stock: Some(stock.key), layer: layer.map(|layer| layer.key), steps, reason })
}

/// The layers in the store, most recently used first.
pub fn all(home: &Home) -> Vec<(Template, Layer)> {
    let templates = Templates::of(home).all().into_iter();
    templates.filter_map(|template| Layer::load(&template).map(|layer| (template, layer))).collect()
}
