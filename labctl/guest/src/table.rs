//! The requests under way on a channel.

use std::collections::HashMap;

use labctl_wire::FromAgent;
use tokio::sync::mpsc::UnboundedSender;

use crate::GuestError;

/// What a request's owner hears: messages of the agent with its own id, or the end.
pub type Heard = Result<FromAgent, GuestError>;

/// Requests by id. Their queues are not bounded by themselves; the window of the protocol bounds them.
#[derive(Debug, Default)]
pub struct Table {
    next: u64,
    open: HashMap<u64, UnboundedSender<Heard>>,
}

impl Table {
    /// Takes a request in and gives its id.
    pub fn open(&mut self, owner: UnboundedSender<Heard>) -> u64 {
        self.next += 1;
        self.open.insert(self.next, owner);
        self.next
    }

    /// Forgets a request; whether it was under way.
    pub fn close(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Hands a message to its owner.
    pub fn hand(&mut self, message: FromAgent) {
        let (id, last) = match &message {
            FromAgent::Data { id, .. } | FromAgent::Credit { id, .. } => (*id, false),
            FromAgent::Done { id, .. } => (*id, true),
            FromAgent::Ready { .. } => return,
        };
        if let Some(owner) = self.open.get(&id) {
            // An owner that has gone cancels its request; what still comes for it is dropped.
            let _ = owner.send(Ok(message));
        }
        if last {
            self.open.remove(&id);
        }
    }

    /// Ends all requests with that reason.
    pub fn fail_all(&mut self, why: &GuestError) {
        for (_, owner) in self.open.drain() {
            let _ = owner.send(Err(why.clone()));
        }
    }
}
