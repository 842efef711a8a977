//! Waiting that ends when there is no progress, not after a fixed time: a slow machine takes as long as it takes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::modules::call::outcome::Fault;
use crate::modules::network::nomad::api::{Api, No};

/// Pause between two tries when an agent does not answer: there is no event for when it starts to.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait without anything new.
pub(super) struct Patience {
    limit: Duration,
    /// Everything seen so far. Progress is what has not been seen before: a task that is restarted again and again makes none.
    seen: HashSet<String>,
    last: Instant,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, seen: HashSet::new(), last: Instant::now() }
    }

    /// Records the current facts.
    pub(super) fn note(&mut self, facts: impl IntoIterator<Item = String>) {
        for fact in facts {
            if self.seen.insert(fact) {
                self.last = Instant::now();
            }
        }
    }

    /// How long nothing new has happened.
    pub(super) fn quiet(&self) -> Duration {
        self.last.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        self.quiet() >= self.limit
    }

    /// The limit, for messages.
    pub(super) fn words(&self) -> String {
        format!("{} s without progress", self.limit.as_secs())
    }

    /// Asks until there is an answer; none if it does not exist in Nomad. A refusal is a fault.
    pub(super) fn insist<T>(&mut self, api: &Api<'_>, mut ask: impl FnMut() -> Result<T, No>) -> Result<Option<T>, Fault> {
        loop {
            if api.given_up() {
                return Err(given_up());
            }
            match ask() {
                Ok(value) => {
                    self.note(["Nomad answers".to_owned()]);
                    return Ok(Some(value));
                }
                Err(No::Missing(_)) => return Ok(None),
                Err(No::Refused(why)) => return Err(why.into()),
                Err(No::Away(why)) if self.is_over() => {
                    return Err(format!("Nomad did not answer for {}: {why}; see `journalctl -u nomad`", self.words()).into());
                }
                Err(No::Away(_)) => std::thread::sleep(PAUSE.min(self.limit)),
            }
        }
    }

    /// Asks for something that must exist.
    pub(super) fn must<T>(&mut self, api: &Api<'_>, what: &str, ask: impl FnMut() -> Result<T, No>) -> Result<T, Fault> {
        self.insist(api, ask)?.ok_or_else(|| format!("Nomad has no {what}").into())
    }
}

/// The error of a wait that was cancelled.
pub(super) fn given_up() -> Fault {
    "the wait was cancelled".into()
}
