//! A lab's node, reached through the supervisor.

use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_lab::client::Supervisor;
use labctl_provision::TargetError;
use labctl_spec::ident::NodeName;
use tokio::time::timeout;

use super::channel::{Open, Opened};

/// How long a node that has just been started may take until its agent answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens channels to a node.
pub struct Node {
    supervisor: Supervisor,
    node: NodeName,
}

impl Node {
    /// The node of that name.
    pub fn new(supervisor: Supervisor, node: NodeName) -> Self {
        Self { supervisor, node }
    }
}

impl Open for Node {
    fn name(&self) -> String {
        self.node.to_string()
    }

    fn open(&self) -> BoxFuture<'_, Result<Opened, TargetError>> {
        Box::pin(async move {
            let unreachable = |why: String| TargetError::Unreachable(format!("{}: {why}", self.node));
            let opened = timeout(PATIENCE, self.supervisor.agent(&self.node)).await;
            let agent =
                opened.map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))?.map_err(|why| unreachable(why.to_string()))?;
            Ok(Opened { agent, state: labctl_wire::STATE.to_owned() })
        })
    }
}
