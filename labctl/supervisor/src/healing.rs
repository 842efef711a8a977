//! Undoes expired faults, even if their scenario is gone: a scenario heals its own faults, but it can be killed.

use std::sync::Arc;
use std::time::Duration;

use labctl_chaos::Journal;
use labctl_lab::event::Event;
use labctl_lab::identity::now_ns;
use labctl_lab::journal::FaultJournal;

use crate::Supervisor;
use crate::faulting::OwnLab;

/// Delay before retrying a failed undo: the node may be down for a while.
const RETRY: Duration = Duration::from_secs(5);

/// Undoes faults as they expire, forever. It reads the journal when a client has disconnected, because only then is nothing else
/// responsible for it, and when the next fault expires.
pub async fn heal_expired(supervisor: Arc<Supervisor>) {
    let journal = FaultJournal::new(&supervisor.home);
    loop {
        let Some(expiry) = next_expiry(&journal) else {
            supervisor.journalled.notified().await;
            continue;
        };
        let now = now_ns() / 1_000_000;
        if expiry > now {
            // Whichever comes first; another fault may expire sooner.
            let _ = tokio::time::timeout(Duration::from_millis(expiry - now), supervisor.journalled.notified()).await;
            continue;
        }
        let failed = match labctl_chaos::heal(&journal, &OwnLab(supervisor.clone()), Some(now)).await {
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

/// When the next fault expires, in milliseconds since 1970; none if no fault is in force.
fn next_expiry(journal: &FaultJournal) -> Option<u64> {
    journal.open().ok()?.iter().map(|lease| lease.expires_unix_ms).min()
}
