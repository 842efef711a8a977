//! How many clients are connected, and who wants to know when one has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The clients of a supervisor.
#[derive(Debug, Default)]
pub struct Clients {
    connected: AtomicUsize,
    /// Notified whenever a client has disconnected or a machine has stopped.
    pub quieter: Notify,
    /// Notified whenever the journal of faults may have changed: a client has disconnected.
    pub journalled: Notify,
}

impl Clients {
    /// Whether there is none.
    pub fn none(&self) -> bool {
        self.connected.load(Ordering::SeqCst) == 0
    }
}

/// A connected client. It counts until it is dropped, also if its call panics.
#[derive(Debug)]
pub struct Client(Arc<Clients>);

impl Client {
    /// Another one.
    pub fn of(clients: &Arc<Clients>) -> Self {
        clients.connected.fetch_add(1, Ordering::SeqCst);
        Self(clients.clone())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::SeqCst);
        self.0.quieter.notify_one();
        self.0.journalled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_whose_call_panics_is_gone_too() {
        let clients = Arc::<Clients>::default();
        let (stays, panics) = (Client::of(&clients), Client::of(&clients));
        let call = tokio::spawn(async move {
            let _client = panics;
            panic!("as a call with a mistake in it");
        });
        assert!(call.await.unwrap_err().is_panic());
        // Whoever waits for quiet is told.
        clients.quieter.notified().await;
        clients.journalled.notified().await;
        assert!(!clients.none());
        drop(stays);
        assert!(clients.none());
    }
}
