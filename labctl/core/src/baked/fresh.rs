//! A node that was forked from a layer and has not been provisioned yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_lab::template::Template;
use labctl_provision::{Content, Target, TargetError};
use labctl_wire::{ModuleCall, ModuleReply, modules};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use super::{Answer, Layer, changed, digest, lock, marker};

type Answers = HashMap<String, VecDeque<ModuleReply>>;

/// Asks the node for everything: since it was forked, synced files, users and earlier runs may have changed what the layer had done. What
/// the node finds done counts as changed for the first caller, if the layer changed it.
///
/// That holds until the node has been fully provisioned. A file in the node records this, so that it also holds for its snapshots and
/// clones.
pub struct Fresh {
    inner: Arc<dyn Target>,
    key: String,
    answers: Mutex<Answers>,
    is_fresh: OnceCell<bool>,
}

impl Fresh {
    /// Wraps `inner` if `template`, which the node was forked from, is a layer; otherwise use `inner` itself.
    pub fn new(inner: Arc<dyn Target>, template: &Template) -> Option<Self> {
        let mut answers = Answers::new();
        for step in Layer::load(template)?.steps {
            if let Answer::Reply(reply) = step.answer {
                answers.entry(step.asked).or_default().push_back(reply);
            }
        }
        Some(Self { inner, key: template.key.clone(), answers: Mutex::new(answers), is_fresh: OnceCell::new() })
    }

    async fn is_fresh(&self) -> bool {
        let ask = || async { self.inner.get(&marker()).await.is_ok_and(|text| text == self.key.as_bytes()) };
        *self.is_fresh.get_or_init(ask).await
    }

    /// Records in the node that it has been provisioned; from then on it is like any other.
    pub async fn provisioned(&self) -> Result<(), TargetError> {
        if !self.is_fresh.get().copied().unwrap_or(false) {
            return Ok(());
        }
        let args = Map::from_iter([("path".to_owned(), json!(marker())), ("state".to_owned(), json!("absent"))]);
        self.inner.call(ModuleCall { module: "file".into(), args, ..ModuleCall::default() }).await.map(drop)
    }

    async fn ask(&self, call: ModuleCall) -> Result<ModuleReply, TargetError> {
        let baked = match self.is_fresh().await {
            true => lock(&self.answers).get_mut(&digest(&call)).and_then(VecDeque::pop_front),
            false => None,
        };
        let Some(baked) = baked else { return self.inner.call(call).await };
        // Asking again would run it twice.
        if modules::runs_programs(&call.module) {
            return Ok(baked);
        }
        let now = self.inner.call(call).await?;
        let failed = now.result.get("failed").and_then(Value::as_bool).unwrap_or(false);
        // Read-only calls must see this node's own state.
        Ok(if now.needs_content || failed || changed(&now) || !changed(&baked) { now } else { baked })
    }
}

impl Target for Fresh {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        Box::pin(self.ask(call))
    }

    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        self.inner.put(content, sha256, to)
    }

    fn state(&self) -> String {
        self.inner.state()
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        self.inner.get(path)
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        self.inner.facts()
    }

    fn reboot(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        self.inner.reboot(timeout)
    }

    fn await_ready(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        self.inner.await_ready(timeout)
    }
}
