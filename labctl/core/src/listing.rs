//! All labs of a home, as far as can be seen without starting anything.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use labctl_lab::control::LabStatus;
use labctl_lab::event::NodeState;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_spec::ident::LabName;
use serde::Serialize;
use tokio::time::timeout;

use crate::lifecycle;

/// How long a lab's supervisor may take to answer before only its files are read.
const ANSWER: Duration = Duration::from_secs(3);

/// A lab.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: LabName,
    /// Its nodes' states in a few words; `unknown` if the lab cannot be read.
    pub state: String,
    /// How many nodes run.
    pub running: usize,
    /// How many nodes it has.
    pub nodes: usize,
    /// Memory of all its nodes in MiB.
    pub memory_mib: u64,
    /// Its lab file, if the lab can be read.
    pub file: Option<PathBuf>,
    /// The lab that it is a clone of.
    pub clone_of: Option<LabName>,
    /// Since when its oldest machine has been running, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
    /// Why the lab cannot be read.
    pub error: Option<String>,
}

/// All labs, by name. One that cannot be read is listed with the reason.
pub async fn list(home: &Home) -> Vec<Listed> {
    join_all(home.lab_names().into_iter().map(|name| one(home, name))).await
}

async fn one(home: &Home, name: LabName) -> Listed {
    let lab_home = home.lab(&name);
    let record = match Record::load(&lab_home) {
        Ok(Some(record)) => record,
        Ok(None) => return unread(name, format!("{} does not exist", lab_home.record().display())),
        Err(why) => return unread(name, why.message),
    };
    let lab = record.existing_lab();
    let status = match timeout(ANSWER, lifecycle::status(home, &lab)).await {
        Ok(Ok(status)) => status,
        Ok(Err(why)) => return unread(name, why.message),
        Err(_) => return unread(name, format!("its supervisor has not answered for {} s", ANSWER.as_secs())),
    };
    let (state, running) = in_words(&status);
    Listed {
        name,
        state,
        running,
        nodes: status.nodes.len(),
        memory_mib: status.nodes.iter().map(|node| node.memory_mib).sum(),
        file: Some(record.lab.file),
        clone_of: record.clone_of,
        since_unix_ms: status.nodes.iter().filter_map(|node| node.life.started_unix_ms).min(),
        error: None,
    }
}

fn unread(name: LabName, why: String) -> Listed {
    Listed {
        name,
        state: "unknown".to_owned(),
        running: 0,
        nodes: 0,
        memory_mib: 0,
        file: None,
        clone_of: None,
        since_unix_ms: None,
        error: Some(why),
    }
}

/// One word if all nodes are in the same state, otherwise how many are in which; and how many run.
fn in_words(status: &LabStatus) -> (String, usize) {
    let running = status.nodes.iter().filter(|node| node.state == NodeState::Running).count();
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for word in status.nodes.iter().map(|node| node.state.word()) {
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let words = match &counts[..] {
        [(word, _)] => (*word).to_owned(),
        several => several.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", "),
    };
    (words, running)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn labs_are_listed_with_what_is_wrong_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        assert_eq!(list(&home).await, []);
        let lab = labctl_spec::parse_lab("name: good\nnodes: [{name: a, count: 2, memory: 256M}]\n", Path::new("/g/lab.yml")).unwrap();
        let record = Record::prepare(&home, lab).unwrap();
        let good = home.lab(&record.lab.name);
        good.make().unwrap();
        record.save(&good).unwrap();
        let bad = home.lab(&"bad".parse().unwrap());
        bad.make().unwrap();
        std::fs::write(bad.record(), "{").unwrap();
        let listed = list(&home).await;
        assert_eq!(listed[0].name.as_str(), "bad");
        assert!(listed[0].error.as_ref().unwrap().contains("lab.json"), "{listed:?}");
        let Listed { state, running, nodes, memory_mib, file, error, .. } = &listed[1];
        assert_eq!((state.as_str(), *running, *nodes, *memory_mib), ("not created", 0, 2, 512));
        assert_eq!((file.as_deref(), error.as_deref()), (Some(Path::new("/g/lab.yml")), None));
        std::fs::create_dir_all(good.node(&"a1".parse().unwrap())).unwrap();
        std::fs::write(good.node(&"a1".parse().unwrap()).join("disk.qcow2"), "").unwrap();
        assert_eq!(list(&home).await[1].state, "1 off, 1 not created");
    }
}
