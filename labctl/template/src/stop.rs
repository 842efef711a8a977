//! Why a builder's machine does not go on.

use labctl_lab::{Failure, Kind};
use labctl_machine::driver::{Incident, Running};
use tokio::sync::mpsc::UnboundedReceiver;

/// Waits until the machine has exited, or stands still because the host's disk is full: then its guest answers nothing any more.
pub async fn stopped(running: &dyn Running) -> Failure {
    why(running.ended(), running.incidents()).await
}

async fn why(ended: impl Future<Output = ()>, mut incidents: UnboundedReceiver<Incident>) -> Failure {
    let no_room = async {
        while let Some(incident) = incidents.recv().await {
            if incident == Incident::NoRoom {
                return;
            }
        }
        // The machine has ended, which is waited for as well.
        std::future::pending().await
    };
    tokio::select! {
        () = ended => Failure::new(Kind::Machine, "the builder's machine exited too early"),
        () = no_room => Failure::new(Kind::Host, "the builder's machine stands still, because the host's disk is full")
            .hint("free some disk space and repeat the command; nothing was lost"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_builder_without_room_is_given_up() {
        let (tell, told) = mpsc::unbounded_channel();
        tell.send(Incident::Resumed).unwrap();
        tell.send(Incident::NoRoom).unwrap();
        let full = why(pending(), told).await;
        assert_eq!(full.kind, Kind::Host);
        assert!(full.message.contains("disk is full") && full.hint.is_some(), "{full:?}");
        let (tell, told) = mpsc::unbounded_channel();
        tell.send(Incident::Resumed).unwrap();
        drop(tell);
        assert!(why(ready(()), told).await.message.contains("exited"));
    }
}
