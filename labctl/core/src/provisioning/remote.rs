//! A machine of an inventory, reached through SSH.

use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_guest::ssh::{Machine, SshError};
use labctl_guest::{AGENT_PROGRAM, Agent, Link};
use labctl_provision::{Connection, TargetError};

use super::channel::{Open, Opened};

/// How long the agent may take to answer once it has been started.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens channels to an agent that is pushed to the machine.
pub struct Remote {
    connection: Connection,
}

impl Remote {
    /// The machine behind a connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    async fn start(&self) -> Result<Opened, String> {
        let Connection { host, address, port, user, key, root, .. } = &self.connection;
        let told = |why: SshError| why.to_string();
        let name = address.as_deref().unwrap_or(host);
        let machine = Machine::of_user(name, *port, user.as_deref(), key.as_deref()).map_err(told)?;
        let started = machine.enter().await.map_err(told)?.start_agent(AGENT_PROGRAM, *root).await.map_err(told)?;
        let (said, state) = (started.said(), started.state.clone());
        let link = Link::over(started.stream);
        link.up_within(PATIENCE).await.map_err(|why| {
            let hint = if *root { "; tasks with `become` need passwordless sudo on that machine" } else { "" };
            format!("the agent does not answer: {why}: {}{hint}", said())
        })?;
        Ok(Opened { agent: Agent::new(link), state })
    }
}

impl Open for Remote {
    fn name(&self) -> String {
        self.connection.host.clone()
    }

    fn open(&self) -> BoxFuture<'_, Result<Opened, TargetError>> {
        Box::pin(async move { self.start().await.map_err(|why| TargetError::Unreachable(format!("{}: {why}", self.connection.host))) })
    }
}
