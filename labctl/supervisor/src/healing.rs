//! Undoes faults that have expired or whose owner is gone: a scenario heals its own faults, but it can be killed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{pending, select_all};
use labctl_chaos::{FaultTarget, Journal, Lease, Owner};
use labctl_lab::event::Event;
use labctl_lab::identity::now_ns;
use labctl_lab::journal::FaultJournal;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::Supervisor;
use crate::faulting::OwnLab;
use crate::owner;

/// Delay before retrying a failed undo: the node may be down for a while.
const RETRY: Duration = Duration::from_secs(5);

/// Undoes the lab's faults as they become due, forever.
pub async fn heal_due(supervisor: Arc<Supervisor>) {
    let journal = Arc::new(FaultJournal::new(&supervisor.home));
    let target = Arc::new(OwnLab(supervisor.clone()));
    let told = |text| supervisor.emit(Event::Note { text });
    heal(journal, target, &supervisor.clients.journalled, told).await;
}

/// Undoes faults as they become due, forever, each on its own: one on a node that does not answer holds up no other. The journal is read when a
/// client has disconnected, because only then is nothing else responsible for it, and when the next fault is due.
async fn heal(journal: Arc<dyn Journal>, target: Arc<dyn FaultTarget>, journalled: &Notify, told: impl Fn(String)) {
    let mut works = JoinSet::new();
    // Ids of the leases that are being undone, or wait to be tried again.
    let mut busy: HashMap<Id, String> = HashMap::new();
    loop {
        let mut leases = journal.open().unwrap_or_else(|why| {
            tracing::warn!("faults in force are not known: {why}");
            Vec::new()
        });
        leases.retain(|lease| !busy.values().any(|id| *id == lease.id));
        let now = now_ns() / 1_000_000;
        let (due, later): (Vec<Lease>, Vec<Lease>) =
            leases.into_iter().partition(|lease| lease.expires_unix_ms <= now || lease.owner.is_some_and(owner::is_gone));
        for lease in due {
            let id = lease.id.clone();
            busy.insert(works.spawn(undo(journal.clone(), target.clone(), lease)).id(), id);
        }
        tokio::select! {
            () = journalled.notified() => {}
            // Whichever comes first; another fault may be due sooner.
            () = next_expiry(&later, now) => {}
            () = next_orphan(&later) => {}
            Some(done) = works.join_next_with_id() => {
                match &done {
                    Ok((id, _)) => busy.remove(id),
                    Err(why) => busy.remove(&why.id()),
                };
                done.into_iter().flat_map(|(_, healed)| healed).for_each(|what| told(format!("healed: {what}")));
            }
        }
    }
}

/// Undoes one fault, if it is still in force; returns what was undone. After a failure it returns only when it is time to try again.
async fn undo(journal: Arc<dyn Journal>, target: Arc<dyn FaultTarget>, lease: Lease) -> Vec<String> {
    let only = |other: &Lease| other.id == lease.id;
    let (healed, failed) = match labctl_chaos::heal(&*journal, &*target, Some(&only)).await {
        Ok(healing) => (healing.healed, healing.failed),
        Err(why) => (Vec::new(), vec![why.to_string()]),
    };
    if !failed.is_empty() {
        tracing::warn!("not healed: {}", failed.join("; "));
        tokio::time::sleep(RETRY).await;
    }
    healed
}

/// Waits until the next of them expires.
async fn next_expiry(leases: &[Lease], now: u64) {
    match leases.iter().map(|lease| lease.expires_unix_ms).min() {
        Some(expiry) => tokio::time::sleep(Duration::from_millis(expiry.saturating_sub(now))).await,
        None => pending().await,
    }
}

/// Waits until the owner of one of them is gone.
async fn next_orphan(leases: &[Lease]) {
    let owners: Vec<Owner> = leases.iter().filter_map(|lease| lease.owner).collect();
    match owners.is_empty() {
        true => pending().await,
        false => drop(select_all(owners.into_iter().map(|owner| Box::pin(owner::gone(owner)))).await),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use labctl_chaos::{BoxFuture, FaultError, ImpairedEdges, Undo, UnitsOn};
    use labctl_spec::network::HeldFrames;
    use labctl_spec::scenario::Signal;
    use labctl_wire::{ArmedProcess, Death};
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Leases(Mutex<Vec<Lease>>);

    impl Journal for Leases {
        fn record(&self, lease: &Lease) -> Result<(), FaultError> {
            self.0.lock().unwrap().push(lease.clone());
            Ok(())
        }

        fn healed(&self, id: &str) -> Result<(), FaultError> {
            self.0.lock().unwrap().retain(|lease| lease.id != id);
            Ok(())
        }

        fn open(&self) -> Result<Vec<Lease>, FaultError> {
            Ok(self.0.lock().unwrap().clone())
        }
    }

    /// A lab in which the node `paused` never answers.
    struct Lab;

    fn no<T>() -> Result<T, FaultError> {
        Err(FaultError::new("not in this test"))
    }

    impl FaultTarget for Lab {
        fn arm<'a>(&'a self, node: &'a str, _: u64, _: &'a [String]) -> BoxFuture<'a, Result<Vec<ArmedProcess>, FaultError>> {
            Box::pin(async move { if node == "paused" { pending().await } else { Ok(Vec::new()) } })
        }

        fn fire<'a>(&'a self, _: &'a str, _: u64, _: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn hold_network(&self, _: Duration) -> BoxFuture<'_, Result<(), FaultError>> {
            Box::pin(async { no() })
        }

        fn impair<'a>(&'a self, _: &'a ImpairedEdges) -> BoxFuture<'a, Result<(), FaultError>> {
            Box::pin(async { no() })
        }

        fn mend<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), FaultError>> {
            Box::pin(async { no() })
        }

        fn release_network(&self) -> BoxFuture<'_, Result<HeldFrames, FaultError>> {
            Box::pin(async { no() })
        }
    }

    fn lease(node: &str) -> Lease {
        let targets = vec![UnitsOn { node: node.to_owned(), units: vec!["x".to_owned()] }];
        let (id, scenario, what) = (node.to_owned(), String::new(), node.to_owned());
        Lease { id, scenario, seed: 0, what, undo: Undo::Continue { targets }, expires_unix_ms: 1, owner: None }
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_holds_up_no_other() {
        let journal = Arc::<Leases>::default();
        for node in ["paused", "first"] {
            journal.record(&lease(node)).unwrap();
        }
        let (tell, mut healed) = mpsc::unbounded_channel();
        let journalled = Notify::new();
        let story = async {
            assert_eq!(healed.recv().await.unwrap(), "healed: first");
            // One that is journalled while the first is still waited for.
            journal.record(&lease("second")).unwrap();
            journalled.notify_one();
            assert_eq!(healed.recv().await.unwrap(), "healed: second");
        };
        tokio::select! {
            () = heal(journal.clone(), Arc::new(Lab), &journalled, |text| tell.send(text).unwrap()) => {}
            () = story => {}
        }
        let left: Vec<String> = journal.open().unwrap().into_iter().map(|lease| lease.id).collect();
        assert_eq!(left, ["paused"]);
    }
}
