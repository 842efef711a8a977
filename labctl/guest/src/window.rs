//! The limit on what may be in flight in one request ([`labctl_wire::WINDOW`] in each direction). A guest decides what it sends, so this side
//! counts: what waits here for a slow reader never takes more memory than that.

use std::sync::atomic::{AtomicUsize, Ordering};

use labctl_wire::{ToAgent, WINDOW};

use crate::GuestError;

/// Bytes in flight in one request.
#[derive(Debug, Default)]
pub struct Window {
    /// Received and not acknowledged yet.
    received: AtomicUsize,
    /// Sent and not acknowledged yet.
    sent: AtomicUsize,
}

impl Window {
    /// Takes note of a message that goes to the agent.
    pub fn sends(&self, message: &ToAgent) {
        match message {
            ToAgent::Data { bytes, .. } => drop(self.sent.fetch_add(bytes.len(), Ordering::SeqCst)),
            ToAgent::Credit { bytes, .. } => drop(take(&self.received, *bytes as usize)),
            _ => {}
        }
    }

    /// Takes note of data from the agent.
    ///
    /// # Errors
    /// It is more than the agent may send.
    pub fn received(&self, bytes: usize) -> Result<(), GuestError> {
        let before = self.received.fetch_add(bytes, Ordering::SeqCst);
        match before.saturating_add(bytes) <= WINDOW {
            true => Ok(()),
            false => Err(GuestError::Unexpected(format!("{bytes} bytes while {before} of at most {WINDOW} were not acknowledged"))),
        }
    }

    /// Takes note of an acknowledgement from the agent.
    ///
    /// # Errors
    /// It is for more than was sent.
    pub fn credited(&self, bytes: usize) -> Result<(), GuestError> {
        let before = take(&self.sent, bytes);
        match bytes <= before {
            true => Ok(()),
            false => Err(GuestError::Unexpected(format!("an acknowledgement of {bytes} bytes, where {before} were sent"))),
        }
    }
}

/// Subtracts as much as there is; returns what there was.
fn take(from: &AtomicUsize, bytes: usize) -> usize {
    let left = |there: usize| Some(there.saturating_sub(bytes));
    from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).unwrap_or_else(|there| there)
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;

    #[test]
    fn what_was_acknowledged_may_be_sent_again() {
        let window = Window::default();
        window.received(WINDOW).unwrap();
        window.received(1).unwrap_err();
        window.sends(&ToAgent::Credit { id: 1, bytes: 11 });
        window.received(10).unwrap();
        window.received(1).unwrap_err();
        window.sends(&ToAgent::Data { id: 1, bytes: ByteBuf::from(vec![0; 5]) });
        window.credited(2).unwrap();
        window.credited(4).unwrap_err();
    }
}
