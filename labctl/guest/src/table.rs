//! The requests in progress on a channel.

use std::collections::HashMap;

use labctl_wire::FromAgent;
use tokio::sync::mpsc::UnboundedSender;

use crate::GuestError;

/// What a request's owner receives: the agent's messages for its id, or the error that ended the request.
pub type Heard = Result<FromAgent, GuestError>;

/// Requests by id. Their queues are unbounded; the protocol's window limits them.
#[derive(Debug, Default)]
pub struct Table {
    next: u64,
    open: HashMap<u64, UnboundedSender<Heard>>,
}

impl Table {
    /// Adds a request and returns its id.
    pub fn open(&mut self, owner: UnboundedSender<Heard>) -> u64 {
        self.next += 1;
        self.open.insert(self.next, owner);
        self.next
    }

    /// Removes a request; returns whether it was in progress.
    pub fn close(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Delivers a message to its owner.
    pub fn hand(&mut self, message: FromAgent) {
        let (id, last) = match &message {
            FromAgent::Data { id, .. } | FromAgent::Credit { id, .. } => (*id, false),
            FromAgent::Done { id, .. } => (*id, true),
            FromAgent::Ready { .. } => return,
        };
        if let Some(owner) = self.open.get(&id) {
            // An owner that is gone has cancelled its request; remaining messages for it are dropped.
            let _ = owner.send(Ok(message));
        }
        if last {
            self.open.remove(&id);
        }
    }

    /// Fails all requests with that reason.
    pub fn fail_all(&mut self, why: &GuestError) {
        for (_, owner) in self.open.drain() {
            let _ = owner.send(Err(why.clone()));
        }
    }
}
