//! Undoes faults that have expired or whose owner is gone: a scenario heals its own faults, but it can be killed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{pending, select_all};
use labctl_chaos::{Journal, Lease, Owner};
use labctl_lab::event::Event;
use labctl_lab::identity::now_ns;
use labctl_lab::journal::FaultJournal;

use crate::Supervisor;
use crate::faulting::OwnLab;
use crate::owner;

/// Delay before retrying a failed undo: the node may be down for a while.
const RETRY: Duration = Duration::from_secs(5);

/// Undoes faults as they become due, forever. It reads the journal when a client has disconnected, because only then is nothing else
/// responsible for it, and when the next fault is due.
pub async fn heal_due(supervisor: Arc<Supervisor>) {
    let journal = FaultJournal::new(&supervisor.home);
    loop {
        let leases = journal.open().unwrap_or_else(|why| {
            tracing::warn!("faults in force are not known: {why}");
            Vec::new()
        });
        let now = now_ns() / 1_000_000;
        let is_due = |lease: &Lease| lease.expires_unix_ms <= now || lease.owner.is_some_and(owner::is_gone);
        if !leases.iter().any(is_due) {
            tokio::select! {
                () = supervisor.journalled.notified() => {}
                // Whichever comes first; another fault may be due sooner.
                () = next_expiry(&leases, now) => {}
                () = next_orphan(&leases) => {}
            }
            continue;
        }
        let failed = match labctl_chaos::heal(&journal, &OwnLab(supervisor.clone()), Some(&is_due)).await {
            Ok(healing) => {
                for what in healing.healed {
                    supervisor.emit(Event::Note { text: format!("healed: {what}") });
                }
                healing.failed
            }
            Err(why) => vec![why.to_string()],
        };
        if !failed.is_empty() {
            tracing::warn!("not healed: {}", failed.join("; "));
            tokio::time::sleep(RETRY).await;
        }
    }
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
