//! The requests in progress on a channel.

use std::collections::HashMap;
use std::sync::Arc;

use labctl_wire::FromAgent;
use tokio::sync::mpsc::UnboundedSender;

use crate::GuestError;
use crate::window::Window;

/// What a request's owner receives: the agent's messages for its id, or the error that ended the request.
pub type Heard = Result<FromAgent, GuestError>;

/// Requests by id. Their queues are unbounded; the protocol's window limits them, and an agent that does not keep to it fails.
#[derive(Debug, Default)]
pub struct Table {
    next: u64,
    open: HashMap<u64, (UnboundedSender<Heard>, Arc<Window>)>,
}

impl Table {
    /// Adds a request and returns its id.
    pub fn open(&mut self, owner: UnboundedSender<Heard>, window: Arc<Window>) -> u64 {
        self.next += 1;
        self.open.insert(self.next, (owner, window));
        self.next
    }

    /// Removes a request; returns whether it was in progress.
    pub fn close(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Delivers a message to its owner. Returns the request that failed with it, because the message breaks the protocol: it is to be cancelled.
    pub fn hand(&mut self, message: FromAgent) -> Option<u64> {
        let (id, last) = match &message {
            FromAgent::Data { id, .. } | FromAgent::Credit { id, .. } => (*id, false),
            FromAgent::Done { id, .. } => (*id, true),
            FromAgent::Ready { .. } => return None,
        };
        let (owner, window) = self.open.get(&id)?;
        let kept = match &message {
            // These say nothing, and could be repeated without end.
            FromAgent::Data { bytes, .. } if bytes.is_empty() => return None,
            FromAgent::Credit { bytes: 0, .. } => return None,
            FromAgent::Data { bytes, .. } => window.received(bytes.len()),
            FromAgent::Credit { bytes, .. } => window.credited(*bytes as usize),
            FromAgent::Done { .. } | FromAgent::Ready { .. } => Ok(()),
        };
        let failed = kept.is_err();
        // An owner that is gone has cancelled its request; remaining messages for it are dropped.
        let _ = owner.send(kept.map(|()| message));
        if last || failed {
            self.open.remove(&id);
        }
        failed.then_some(id)
    }

    /// Fails all requests with that reason.
    pub fn fail_all(&mut self, why: &GuestError) {
        for (_, (owner, _)) in self.open.drain() {
            let _ = owner.send(Err(why.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use labctl_wire::{Stream, WINDOW};
    use serde_bytes::ByteBuf;
    use tokio::sync::mpsc;

    use super::*;

    /// A guest that sends without end to somebody who does not read.
    #[test]
    fn an_agent_that_does_not_keep_to_the_window_fails() {
        let mut table = Table::default();
        let (owner, mut heard) = mpsc::unbounded_channel();
        let id = table.open(owner, Arc::default());
        let mut send = |bytes| table.hand(FromAgent::Data { id, stream: Stream::Out, bytes: ByteBuf::from(vec![0; bytes]) });
        for _ in 0..1000 {
            assert_eq!(send(0), None);
        }
        for _ in 0..WINDOW / 1024 {
            assert_eq!(send(1024), None);
        }
        assert_eq!(send(1), Some(id), "it is to be cancelled");
        assert_eq!(send(1024), None, "it is over");
        for _ in 0..WINDOW / 1024 {
            assert!(heard.try_recv().unwrap().is_ok());
        }
        let said = heard.try_recv().unwrap().unwrap_err().to_string();
        assert!(said.contains("unexpected answer: 1 bytes while 1048576 of at most"), "{said}");
        assert!(heard.try_recv().is_err());
    }
}
