//! A machine as the provisioning engine sees it, however its agent is reached.

use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_guest::{Agent, GuestError, LinkState};
use labctl_provision::{Content, Target, TargetError};
use labctl_wire::{ModuleCall, ModuleReply, Put};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Opens channels to one machine's agent.
pub trait Open: Send + Sync {
    /// The machine, for messages.
    fn name(&self) -> String;

    /// A new channel whose agent answers; fails within a time that suits the machine.
    fn open(&self) -> BoxFuture<'_, Result<Opened, TargetError>>;

    /// Whether the machine can be rebooted.
    fn reboots(&self) -> bool {
        true
    }
}

/// An open channel.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The agent behind it.
    pub agent: Agent,
    /// The agent's state folder.
    pub state: String,
}

/// A machine. One channel serves all calls and is reopened when it breaks.
pub struct Channel<O> {
    opener: O,
    kept: Mutex<Option<Opened>>,
    state: std::sync::Mutex<String>,
}

impl<O: Open> Channel<O> {
    /// The machine that `opener` connects to.
    pub fn new(opener: O) -> Self {
        Self { opener, kept: Mutex::default(), state: std::sync::Mutex::new(labctl_wire::STATE.to_owned()) }
    }

    async fn agent(&self) -> Result<Agent, TargetError> {
        let mut kept = self.kept.lock().await;
        if let Some(opened) = kept.as_ref().filter(|opened| *opened.agent.link().state().borrow() != LinkState::Down) {
            return Ok(opened.agent.clone());
        }
        let opened = self.opener.open().await?;
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&opened.state);
        let agent = opened.agent.clone();
        *kept = Some(opened);
        Ok(agent)
    }

    /// A failed channel means that the host is unreachable; a failure of the agent, that the task failed.
    fn judge(&self, why: GuestError) -> TargetError {
        let text = format!("{}: {why}", self.opener.name());
        match why {
            GuestError::Agent(_) | GuestError::Copy(_) | GuestError::Local { .. } | GuestError::Unexpected(_) => TargetError::Failed(text),
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

impl<O: Open> Target for Channel<O> {
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

    fn state(&self) -> String {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
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
            if !self.opener.reboots() {
                return Err(TargetError::Failed("refused: the reboot module would reboot the controller itself".to_owned()));
            }
            let before = self.boot_id().await?;
            self.agent().await?.reboot().await.map_err(|why| self.judge(why))?;
            // The channel goes down with the machine's old boot and comes up with the new one.
            let back = async {
                loop {
                    *self.kept.lock().await = None;
                    match self.boot_id().await {
                        Ok(now) if now != before => return,
                        // Between the two boots; the agent's first message ends the wait below.
                        _ => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
            };
            let late = || TargetError::Unreachable(format!("{} did not come back from its reboot within {limit:?}", self.opener.name()));
            timeout(limit, back).await.map_err(|_| late())
        })
    }

    fn await_ready(&self, limit: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            let late = || TargetError::Unreachable(format!("{} did not answer within {limit:?}", self.opener.name()));
            timeout(limit, self.boot_id()).await.map_err(|_| late())?.map(drop)
        })
    }
}
