//! Keeps nodes' copies up to date while folders of the host change.
//!
//! ```text
//! folder ──▶ what changed ──▶ pending, for each copy ──▶ one stream at a time for each running node
//! supervisor ──▶ a node runs, or has another boot ──▶ everything is pending for it
//! ```

use std::collections::BTreeMap;

use labctl_lab::client::{Connection, Supervisor};
use labctl_lab::control::{Answer, LabStatus};
use labctl_lab::event::{Each, Event, NodeState};
use labctl_lab::home::LabHome;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Lab, Sync};
use labctl_tree::Rules;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use super::changes::{Change, Changed, Changes};
use super::tree::{self, Tree, Trees};
use super::{Copy, meant, together};

/// What a node still has to get.
struct Target {
    copies: Vec<(Copy, Owed)>,
    /// Boot and its beginning, if everything up to now was brought to that one.
    life: Option<Life>,
    running: bool,
    busy: bool,
}

type Life = (Option<String>, Option<u64>);

/// What has changed since a copy was last brought, and the rules that hold.
struct Owed {
    folder: usize,
    change: Change,
    rules: Rules,
}

/// What the work on a node came to.
enum Outcome {
    /// What is said here could not be brought, but the node is well.
    Done(Vec<Failure>),
    /// The node went away meanwhile.
    Lost,
    /// The node cannot be reached.
    Unreachable,
}

enum Happened {
    Changed(usize, Changed),
    Failed(Failure),
    Said(Event),
    Worked(NodeName, Outcome),
}

/// Brings everything, then every change, until the lab is destroyed or the returned future is dropped. Nodes that are not running get
/// what they missed when they are.
pub async fn watch(home: &LabHome, lab: &Lab, nodes: &[NodeName], each: Each<'_>) -> Result<(), Failure> {
    let mut supervisor = Supervisor::ensure(home, &lab.name, each).await?;
    let (happened, mut news) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let mut targets = begin(lab, nodes, &happened, &mut tasks, each)?;
    let mut status = supervisor.watch().await?;
    each(Event::Note { text: "watching; Ctrl-C ends".into() });
    loop {
        dispatch(&mut targets, &supervisor, &happened, &mut tasks);
        tokio::select! {
            answer = status.answer() => match answer {
                Ok(Answer::Status(status)) => notice(&mut targets, &status),
                Ok(_) => {}
                Err(_) => match again(home, lab, each).await? {
                    Some((new, connection)) => (supervisor, status) = (new, connection),
                    None => return Ok(()),
                },
            },
            Some(happened) = news.recv() => match happened {
                Happened::Said(event) => each(event),
                Happened::Failed(why) => return Err(why),
                Happened::Changed(folder, changed) => {
                    for (_, owed) in targets.values_mut().flat_map(|target| &mut target.copies).filter(|(_, owed)| owed.folder == folder) {
                        owed.change.add(&changed.change);
                        owed.rules = changed.rules.clone();
                    }
                }
                Happened::Worked(node, outcome) => settle(&mut targets, &node, outcome, each),
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Begins to watch the folders, each once.
fn begin(
    lab: &Lab,
    nodes: &[NodeName],
    happened: &UnboundedSender<Happened>,
    tasks: &mut JoinSet<()>,
    each: Each<'_>,
) -> Result<BTreeMap<NodeName, Target>, Failure> {
    let mut folders: Vec<Sync> = Vec::new();
    let mut targets = BTreeMap::new();
    let mut trees = Trees::default();
    for node in meant(lab, nodes) {
        let mut copies = Vec::new();
        for copy in Copy::all(node) {
            let rules = trees.look(&copy.sync).rules;
            let same = |other: &Sync| (&other.from, &other.exclude) == (&copy.sync.from, &copy.sync.exclude);
            let folder = folders.iter().position(same).unwrap_or(folders.len());
            if folder == folders.len() {
                folders.push(copy.sync.clone());
            }
            copies.push((copy, Owed { folder, change: Change::All, rules }));
        }
        targets.insert(node.name.clone(), Target { copies, life: None, running: false, busy: false });
    }
    for text in trees.judge()? {
        each(Event::Note { text });
    }
    let mut failures = Vec::new();
    for (at, sync) in folders.iter().enumerate() {
        let failed = |why: std::io::Error| Failure::new(Kind::Host, format!("cannot watch {}: {why}", sync.from.display()));
        match Changes::watch(sync, tree::rules(sync).unwrap_or_default()) {
            Ok(mut changes) => {
                let (happened, from) = (happened.clone(), sync.from.clone());
                tasks.spawn(async move {
                    loop {
                        let (news, last) = match changes.next().await {
                            Ok(changed) => (Happened::Changed(at, changed), false),
                            Err(why) => {
                                (Happened::Failed(Failure::new(Kind::Host, format!("cannot watch {}: {why}", from.display()))), true)
                            }
                        };
                        if happened.send(news).is_err() || last {
                            return;
                        }
                    }
                });
            }
            Err(why) => failures.push(failed(why)),
        }
    }
    together(failures)?;
    Ok(targets)
}

/// The supervisor is gone: another one, unless the lab is gone too.
async fn again(home: &LabHome, lab: &Lab, each: Each<'_>) -> Result<Option<(Supervisor, Connection)>, Failure> {
    if Record::load(home)?.is_none() {
        each(Event::Note { text: format!("lab `{}` was destroyed", lab.name) });
        return Ok(None);
    }
    let supervisor = Supervisor::ensure(home, &lab.name, each).await?;
    let connection = supervisor.watch().await?;
    Ok(Some((supervisor, connection)))
}

/// A node that runs, but not as it did when it was brought everything, may lack anything.
fn notice(targets: &mut BTreeMap<NodeName, Target>, status: &LabStatus) {
    for node in &status.nodes {
        let Some(target) = targets.get_mut(&node.name) else { continue };
        target.running = node.state == NodeState::Running;
        let life = (node.life.boot_id.clone(), node.life.since_unix_ms);
        if target.running && target.life.as_ref() != Some(&life) {
            target.life = Some(life);
            target.copies.iter_mut().for_each(|(_, owed)| owed.change = Change::All);
        }
    }
}

/// Begins to bring what is owed.
fn dispatch(
    targets: &mut BTreeMap<NodeName, Target>,
    supervisor: &Supervisor,
    happened: &UnboundedSender<Happened>,
    tasks: &mut JoinSet<()>,
) {
    for (node, target) in targets.iter_mut().filter(|(_, target)| target.running && !target.busy) {
        let due: Vec<(Copy, Change, Rules)> = target
            .copies
            .iter_mut()
            .filter(|(_, owed)| !owed.change.is_none())
            .map(|(copy, owed)| (copy.clone(), std::mem::replace(&mut owed.change, Change::none()), owed.rules.clone()))
            .collect();
        if due.is_empty() {
            continue;
        }
        target.busy = true;
        let (node, supervisor, happened) = (node.clone(), supervisor.clone(), happened.clone());
        tasks.spawn(async move {
            let outcome = bring(&supervisor, &node, due, &happened).await;
            // Nobody listens any more if the command has ended.
            let _ = happened.send(Happened::Worked(node, outcome));
        });
    }
}

async fn bring(supervisor: &Supervisor, node: &NodeName, due: Vec<(Copy, Change, Rules)>, happened: &UnboundedSender<Happened>) -> Outcome {
    let Ok(agent) = supervisor.agent(node).await else { return Outcome::Unreachable };
    let mut failures = Vec::new();
    for (copy, change, rules) in due {
        let (sync, partial) = (copy.sync.clone(), change != Change::All);
        let look = move || match change {
            Change::All => Trees::default().look(&sync),
            Change::Paths(paths) => Tree::part(&sync, &rules, &paths),
        };
        let tree = match tokio::task::spawn_blocking(look).await {
            Ok(tree) => tree,
            Err(why) => return Outcome::Done(vec![Failure::new(Kind::Internal, why.to_string())]),
        };
        let faults = &tree.manifest.faults;
        if !faults.is_empty() {
            failures.push(Failure::new(Kind::Host, faults.join("\n")));
        }
        // What could not be read would count as gone from the host.
        if !faults.is_empty() && !partial || tree.manifest.items.is_empty() {
            continue;
        }
        match copy.bring(&agent, &tree, partial).await {
            Ok(Event::Synced { written: 0, folders: 0, removed: 0, .. }) if partial => {}
            Ok(event) => drop(happened.send(Happened::Said(event))),
            Err(why) => {
                if agent.ping().await.is_err() {
                    return Outcome::Lost;
                }
                failures.push(why);
            }
        }
    }
    Outcome::Done(failures)
}

fn settle(targets: &mut BTreeMap<NodeName, Target>, node: &NodeName, outcome: Outcome, each: Each<'_>) {
    let Some(target) = targets.get_mut(node) else { return };
    target.busy = false;
    match outcome {
        Outcome::Done(failures) => failures.into_iter().for_each(|why| each(Event::Warning { text: why.message })),
        // Tried again at once: the next connection waits until the agent answers.
        Outcome::Lost => target.copies.iter_mut().for_each(|(_, owed)| owed.change = Change::All),
        // Tried again when the supervisor says that it runs.
        Outcome::Unreachable => {
            target.life = None;
            target.running = false;
        }
    }
}
