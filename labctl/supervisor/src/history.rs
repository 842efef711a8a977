//! Recent events, for clients that start to watch later.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use labctl_lab::control::Stamped;
use labctl_lab::event::Event;
use tokio::sync::broadcast;

use crate::lock;

/// How many events are kept. Five nodes that come up, are killed and come back produce about fifty.
const KEPT: usize = 500;

/// How many events a slow client may lag behind before it loses some.
const LAG: usize = 1024;

/// Events, kept and forwarded.
pub struct History {
    kept: Mutex<VecDeque<Stamped>>,
    sender: broadcast::Sender<Stamped>,
}

impl History {
    pub fn new() -> Self {
        Self { kept: Mutex::default(), sender: broadcast::channel(LAG).0 }
    }

    /// Keeps an event and sends it to the listeners.
    pub fn add(&self, event: Event) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamped = Stamped { at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), event };
        // Sent under the lock: `watch` must neither miss an event nor see it twice.
        let mut kept = lock(&self.kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(stamped.clone());
        // There may be no listeners.
        let _ = self.sender.send(stamped);
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Stamped> {
        self.sender.subscribe()
    }

    /// The kept events, and everything after them.
    pub fn watch(&self) -> (Vec<Stamped>, broadcast::Receiver<Stamped>) {
        let kept = lock(&self.kept);
        (kept.iter().cloned().collect(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { text: text.to_owned() }
    }

    #[test]
    fn a_watcher_sees_every_event_once() {
        let history = History::new();
        history.add(note("before"));
        let (kept, mut after) = history.watch();
        history.add(note("after"));
        assert_eq!(kept.into_iter().map(|stamped| stamped.event).collect::<Vec<_>>(), [note("before")]);
        assert_eq!(after.try_recv().unwrap().event, note("after"));
        assert!(after.try_recv().is_err());
    }

    #[test]
    fn only_the_latest_are_kept() {
        let history = History::new();
        for number in 0..KEPT + 3 {
            history.add(note(&number.to_string()));
        }
        let (kept, _) = history.watch();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0].event, note("3"));
    }
}
