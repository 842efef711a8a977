//! Gives nodes the SSH host keys that take long to make, while other things are prepared.

use labctl_lab::event::{Each, Event};
use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::Record;
use labctl_lab::spare_keys::SpareKeys;
use labctl_lab::{Failure, Kind};
use labctl_spec::lab::Lab;
use tokio::task::JoinHandle;

/// Keys that are being made.
pub struct Making {
    spares: SpareKeys,
    made: JoinHandle<Result<(), Failure>>,
}

/// Begins to make the keys that the lab's nodes lack, if there are too few in stock.
pub fn begin(home: &Home, kept: Option<&Record>, lab: &Lab) -> Making {
    let has = |kept: &Record, name| kept.nodes.get(name).is_some_and(|node| !node.more_host_keys.is_empty());
    ahead(home, lab.nodes.iter().filter(|node| !kept.is_some_and(|kept| has(kept, &node.name))).count())
}

/// Begins to make the keys of `nodes` new nodes, if there are too few in stock.
pub fn ahead(home: &Home, nodes: usize) -> Making {
    let spares = SpareKeys::of(home);
    let making = spares.clone();
    Making { spares, made: tokio::spawn(async move { making.provide(nodes).await }) }
}

impl Making {
    /// Waits for the keys, and records them. A host on which they cannot be made still gets its lab, with the first key only.
    pub async fn finish(self, home: &LabHome, record: &mut Record, each: Each<'_>) -> Result<(), Failure> {
        let mut made = ended(self.made).await;
        let lacking = record.lacking_host_keys();
        let mut given = 0;
        while made.is_ok()
            && let Some(name) = lacking.get(given)
        {
            match (self.spares.take(&format!("root@{name}")), record.nodes.get_mut(name)) {
                (Some(keys), Some(node)) => {
                    node.more_host_keys = keys;
                    given += 1;
                }
                (_, None) => given += 1,
                // Another lab took them.
                (None, Some(_)) => made = self.spares.provide(lacking.len() - given).await,
            }
        }
        if let Err(why) = made {
            told(&why, each);
        }
        if given > 0 { record.save(home) } else { Ok(()) }
    }

    /// Waits for the keys, and leaves them in stock.
    pub async fn settle(self, each: Each<'_>) {
        if let Err(why) = ended(self.made).await {
            told(&why, each);
        }
    }
}

async fn ended(made: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    made.await.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())))
}

fn told(why: &Failure, each: Each<'_>) {
    let hint = why.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    each(Event::Note { text: format!("nodes have an Ed25519 host key only, no RSA and ECDSA: {}{hint}", why.message) });
}
