//! Faults whose time is over are undone here, whoever has died: a scenario heals its own, but it can be killed.

use std::sync::Arc;
use std::time::Duration;

use super::{Supervisor, boot};
use crate::chaos;
use crate::client;
use crate::event::Event;

/// Pause after an undoing that failed: the node may be down for a while.
const RETRY: Duration = Duration::from_secs(5);

/// Undoes faults as they expire, for ever. The journal is looked at when a client has gone, because only then nobody else
/// looks after it, and when the next fault's time is over.
pub async fn heal_expired(supervisor: Arc<Supervisor>) {
    loop {
        let Some(expiry) = chaos::next_expiry(&supervisor.home) else {
            supervisor.journalled.notified().await;
            continue;
        };
        let now = boot::now_ns() / 1_000_000;
        if expiry > now {
            // Whichever comes first; another fault may expire sooner.
            let _ = tokio::time::timeout(Duration::from_millis(expiry - now), supervisor.journalled.notified()).await;
            continue;
        }
        let Some(own) = client::Supervisor::running(&supervisor.home).await else { return };
        match chaos::heal(own, &supervisor.home, Some(now)).await {
            Ok(healing) if healing.failed.is_empty() => {
                for what in healing.healed {
                    supervisor.emit(Event::Note { text: format!("healed: {what}") });
                }
            }
            Ok(healing) => {
                eprintln!("not healed: {}", healing.failed.join("; "));
                tokio::time::sleep(RETRY).await;
            }
            Err(why) => {
                eprintln!("not healed: {why}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
