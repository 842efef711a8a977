//! A machine that does not exist: it answers as a builder did, as far as the answers are known.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_provision::{Content, Target, TargetError};
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value};

use super::{Planned, Stopped};
use crate::baked::{Answer, FACTS, Known, after, digest, lock};

/// One node's path through the known steps.
pub struct Replay {
    known: Arc<Known>,
    planned: Mutex<Planned>,
}

impl Replay {
    /// Starts from the stock template.
    pub fn new(known: Arc<Known>, stock: &str) -> Self {
        let planned = Planned { chain: stock.to_owned(), steps: Vec::new(), stopped: None };
        Self { known, planned: Mutex::new(planned) }
    }

    /// How far it got.
    pub fn planned(&self) -> Planned {
        lock(&self.planned).clone()
    }

    fn answer(&self, asked: &str, what: &str) -> Result<Answer, TargetError> {
        let mut planned = lock(&self.planned);
        let chain = after(&planned.chain, asked);
        match self.known.get(&chain).filter(|_| planned.stopped.is_none()) {
            Some(step) => {
                planned.chain = chain;
                planned.steps.push(step.clone());
                Ok(step.answer.clone())
            }
            None => Err(self.stop(&mut planned, Stopped::New(format!("`{what}`")))),
        }
    }

    fn stop(&self, planned: &mut Planned, why: Stopped) -> TargetError {
        planned.stopped.get_or_insert(why);
        TargetError::Unreachable("this is not baked".to_owned())
    }

    fn never(&self, what: &str) -> TargetError {
        self.stop(&mut lock(&self.planned), Stopped::Never(format!("{what} cannot be baked")))
    }
}

impl Target for Replay {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        Box::pin(async move {
            match self.answer(&digest(&call), &call.module)? {
                Answer::Reply(reply) => Ok(reply),
                Answer::Facts(_) => Err(self.never("a step with the wrong kind of recorded answer")),
            }
        })
    }

    fn put<'a>(&'a self, _: Content, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async { Err(self.never("sending a file by itself")) })
    }

    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        Box::pin(async { Err(self.never("fetching a file")) })
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        Box::pin(async {
            match self.answer(FACTS, "setup")? {
                Answer::Facts(facts) => Ok(facts),
                Answer::Reply(_) => Err(self.never("a step with the wrong kind of recorded answer")),
            }
        })
    }

    fn reboot(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async { Err(self.never("a reboot")) })
    }

    fn await_ready(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }
}
