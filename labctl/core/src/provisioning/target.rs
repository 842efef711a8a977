//! A node as the provisioning engine sees it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_guest::{Agent, GuestError, LinkState};
use labctl_provision::{Content, Target, TargetError};
use labctl_spec::ident::NodeName;
use labctl_wire::{ModuleCall, ModuleReply, Put};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::client::Supervisor;

/// How long a node that has just been started may take until its agent answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node, reached through the supervisor. One channel serves all calls and is opened anew when it broke.
pub struct NodeTarget {
    supervisor: Supervisor,
    node: NodeName,
    agent: Mutex<Option<Agent>>,
}

impl NodeTarget {
    /// The node of that name.
    pub fn new(supervisor: Supervisor, node: NodeName) -> Self {
        Self { supervisor, node, agent: Mutex::default() }
    }

    async fn agent(&self) -> Result<Agent, TargetError> {
        let mut kept = self.agent.lock().await;
        if let Some(agent) = kept.as_ref().filter(|agent| *agent.link().state().borrow() != LinkState::Down) {
            return Ok(agent.clone());
        }
        let unreachable = |why: String| TargetError::Unreachable(format!("{}: {why}", self.node));
        let opened = timeout(PATIENCE, self.supervisor.agent(&self.node)).await;
        let agent =
            opened.map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))?.map_err(|why| unreachable(why.to_string()))?;
        *kept = Some(agent.clone());
        Ok(agent)
    }

    /// A failure of the channel means that the host cannot be reached; one of the agent, that the task failed.
    fn judge(&self, why: GuestError) -> TargetError {
        let text = format!("{}: {why}", self.node);
        match why {
            GuestError::Agent(_) | GuestError::Local { .. } | GuestError::Unexpected(_) => TargetError::Failed(text),
            GuestError::Disconnected | GuestError::Restarted | GuestError::Silent(_) | GuestError::Version { .. } => {
                TargetError::Unreachable(text)
            }
        }
    }

    async fn boot_id(&self) -> Result<String, TargetError> {
        let (boot_id, _) = self.agent().await?.link().up().await.map_err(|why| self.judge(why))?;
        Ok(boot_id)
    }
}

impl Target for NodeTarget {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        Box::pin(async move { self.agent().await?.module(call).await.map_err(|why| self.judge(why)) })
    }

    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async move {
            let put = Put { path: to.to_owned(), mode: 0o600, sha256: Some(sha256.to_owned()), ..Put::default() };
            let agent = self.agent().await?;
            let sent = match content {
                Content::Bytes(bytes) => agent.put(Put { size: bytes.len() as u64, ..put }, &bytes[..]).await,
                Content::File(path) => agent.put_file(put, &path).await,
            };
            sent.map(drop).map_err(|why| self.judge(why))
        })
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        Box::pin(async move {
            let mut content = Vec::new();
            self.agent().await?.get(path, &mut content).await.map_err(|why| self.judge(why))?;
            Ok(content)
        })
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        Box::pin(async move { self.agent().await?.facts().await.map_err(|why| self.judge(why)) })
    }

    fn reboot(&self, limit: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            let before = self.boot_id().await?;
            self.agent().await?.reboot().await.map_err(|why| self.judge(why))?;
            // The channel of the supervisor goes down with the guest's old boot and up with its new one.
            let back = async {
                loop {
                    *self.agent.lock().await = None;
                    match self.boot_id().await {
                        Ok(now) if now != before => return,
                        // Between the two boots; the agent's first word ends the wait below.
                        _ => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
            };
            let late = || TargetError::Unreachable(format!("{} did not come back from its reboot within {limit:?}", self.node));
            timeout(limit, back).await.map_err(|_| late())
        })
    }

    fn await_ready(&self, limit: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            let late = || TargetError::Unreachable(format!("{} did not answer within {limit:?}", self.node));
            timeout(limit, self.boot_id()).await.map_err(|_| late())?.map(drop)
        })
    }
}
