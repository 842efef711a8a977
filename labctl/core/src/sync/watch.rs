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
use labctl_lab::work::Work;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Lab, Sync};
use labctl_tree::Rules;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use super::changes::{Change, Changed, Changes};
use super::tree::{self, Tree, Trees};
use super::{Copy, Incomplete, meant, together};

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
    /// Whether something could not be brought, whatever it was: then the next change brings everything.
    missed: bool,
}

/// What the work on a node came to.
enum Outcome {
    /// What is said here could not be brought, but the node is well. These of its copies (by position) have missed it.
    Done(Vec<Failure>, Vec<usize>),
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
                Happened::Changed(folder, changed) => owe(&mut targets, folder, &changed),
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
            copies.push((copy, Owed { folder, change: Change::All, rules, missed: false }));
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
    // A command may have ended it, to destroy the lab or to change its network: that command must not find another one in its way.
    let _work = match Record::load(home)? {
        Some(_) => Some(Work::begin(home, each).await?),
        None => None,
    };
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

/// A folder has changed: all copies of it are owed that.
fn owe(targets: &mut BTreeMap<NodeName, Target>, folder: usize, changed: &Changed) {
    for (_, owed) in targets.values_mut().flat_map(|target| &mut target.copies).filter(|(_, owed)| owed.folder == folder) {
        owed.change.add(&changed.change);
        if std::mem::take(&mut owed.missed) {
            owed.change = Change::All;
        }
        owed.rules = changed.rules.clone();
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
        let owing = target.copies.iter_mut().enumerate().filter(|(_, (_, owed))| !owed.change.is_none());
        let due: Vec<Due> = owing
            .map(|(position, (copy, owed))| Due {
                position,
                copy: copy.clone(),
                change: std::mem::replace(&mut owed.change, Change::none()),
                rules: owed.rules.clone(),
            })
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

/// What is to be brought to a node now.
struct Due {
    /// Position of the copy among the node's.
    position: usize,
    copy: Copy,
    change: Change,
    rules: Rules,
}

async fn bring(supervisor: &Supervisor, node: &NodeName, due: Vec<Due>, happened: &UnboundedSender<Happened>) -> Outcome {
    let Ok(agent) = supervisor.agent(node).await else { return Outcome::Unreachable };
    let (mut failures, mut missed) = (Vec::new(), Vec::new());
    let each = |event| drop(happened.send(Happened::Said(event)));
    for Due { position, copy, change, rules } in due {
        let (sync, partial) = (copy.sync.clone(), change != Change::All);
        let look = move || match change {
            Change::All => Trees::default().look(&sync),
            Change::Paths(paths) => Tree::part(&sync, &rules, &paths),
        };
        let tree = match tokio::task::spawn_blocking(look).await {
            Ok(tree) => tree,
            Err(why) => return Outcome::Done(vec![Failure::new(Kind::Internal, why.to_string())], vec![position]),
        };
        let faults = &tree.manifest.faults;
        if !faults.is_empty() {
            failures.push(Failure::new(Kind::Host, faults.join("\n")));
        }
        // What could not be read would count as gone from the host.
        if !faults.is_empty() && !partial || tree.manifest.items.is_empty() {
            missed.push(position);
            continue;
        }
        match copy.bring(&agent, &tree, partial, &each).await {
            Ok(Event::Synced { written: 0, folders: 0, removed: 0, .. }) if partial => {}
            Ok(event) => each(event),
            Err(Incomplete::But(why)) => failures.push(why),
            Err(Incomplete::Ended(why)) => {
                if agent.ping().await.is_err() {
                    return Outcome::Lost;
                }
                failures.push(why);
                missed.push(position);
            }
        }
    }
    Outcome::Done(failures, missed)
}

fn settle(targets: &mut BTreeMap<NodeName, Target>, node: &NodeName, outcome: Outcome, each: Each<'_>) {
    let Some(target) = targets.get_mut(node) else { return };
    target.busy = false;
    match outcome {
        Outcome::Done(failures, missed) => {
            failures.into_iter().for_each(|why| each(Event::Warning { text: why.message }));
            for position in missed {
                target.copies[position].1.missed = true;
            }
        }
        // Tried again at once: the next connection waits until the agent answers.
        Outcome::Lost => target.copies.iter_mut().for_each(|(_, owed)| owed.change = Change::All),
        // Tried again when the supervisor says that it runs.
        Outcome::Unreachable => {
            target.life = None;
            target.running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use labctl_lab::home::Home;

    use super::*;

    #[test]
    fn after_a_copy_that_failed_the_next_change_brings_everything() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name: a\nnodes: [{name: n, sync: [{from: ., to: /one}, {from: ., to: /two}]}]\n";
        let lab = labctl_spec::parse_lab(text, &folder.path().join("lab.yml")).unwrap();
        let owed = |folder| Owed { folder, change: Change::none(), rules: Rules::default(), missed: false };
        let copies = Copy::all(&lab.nodes[0]).into_iter().map(|copy| (copy, owed(0))).collect();
        let node = lab.nodes[0].name.clone();
        let mut targets = BTreeMap::from([(node.clone(), Target { copies, life: None, running: true, busy: true })]);
        settle(&mut targets, &node, Outcome::Done(Vec::new(), vec![1]), &|_| {});
        let path = Change::Paths(BTreeSet::from([Path::new("x").to_owned()]));
        let changes =
            |targets: &BTreeMap<NodeName, Target>| targets[&node].copies.iter().map(|(_, owed)| owed.change.clone()).collect::<Vec<_>>();
        assert_eq!(changes(&targets), [Change::none(), Change::none()], "not tried again and again");
        owe(&mut targets, 1, &Changed { change: path.clone(), rules: Rules::default() });
        assert_eq!(changes(&targets), [Change::none(), Change::none()], "another folder");
        owe(&mut targets, 0, &Changed { change: path.clone(), rules: Rules::default() });
        assert_eq!(changes(&targets), [path, Change::All]);
    }

    #[tokio::test]
    async fn a_lab_that_is_being_destroyed_gets_no_other_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let lab = labctl_spec::parse_lab("name: t\nnodes: [{name: a}]\n", Path::new("/t.yml")).unwrap();
        let lab_home = home.lab(&lab.name);
        Record::prepare(&home, lab.clone()).unwrap().save(&lab_home).unwrap();
        let destroys = Work::begin(&lab_home, &|_| {}).await.unwrap();
        let (told, mut waits) = mpsc::unbounded_channel();
        let each = |event: Event| drop(told.send(event));
        let destroy = async {
            assert!(matches!(waits.recv().await, Some(Event::Note { text }) if text.contains("waiting")));
            std::fs::remove_dir_all(lab_home.folder()).unwrap();
            drop(destroys);
        };
        let (gone, ()) = tokio::join!(again(&lab_home, &lab, &each), destroy);
        assert!(gone.unwrap().is_none());
        assert!(!lab_home.folder().exists(), "nothing is left");
    }
}
