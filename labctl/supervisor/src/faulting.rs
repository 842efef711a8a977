//! The supervisor's own lab as the chaos engine acts on it: its agents and its switch, with no socket in between.

use std::sync::Arc;
use std::time::Duration;

use labctl_chaos::{BoxFuture, FaultError, FaultTarget, ImpairedEdges};
use labctl_guest::Agent;
use labctl_lab::Failure;
use labctl_spec::ident::{BadName, NodeName};
use labctl_spec::network::HeldFrames;
use labctl_spec::scenario::Signal;
use labctl_wire::{ArmedProcess, Death};

use crate::Supervisor;

/// The lab of this supervisor.
pub struct OwnLab(pub Arc<Supervisor>);

impl OwnLab {
    /// The agent of a running node.
    fn agent(&self, node: &str) -> Result<Agent, FaultError> {
        let name: NodeName = node.parse().map_err(|why: BadName| FaultError::new(why.to_string()))?;
        let slot = self.0.slot(&name).map_err(failed(node))?;
        let running = slot.running().ok_or_else(|| failed(node)(slot.not_running(&self.0)))?;
        Ok(Agent::new(running.link))
    }
}

fn failed(node: &str) -> impl Fn(Failure) -> FaultError {
    move |why| FaultError { message: format!("{node}: {}", why.message), hint: why.hint }
}

impl FaultTarget for OwnLab {
    fn arm<'a>(&'a self, node: &'a str, shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<ArmedProcess>, FaultError>> {
        Box::pin(async move { self.agent(node)?.arm(shot, units.to_vec()).await.map_err(|why| failed(node)(why.into())) })
    }

    fn fire<'a>(&'a self, node: &'a str, shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>> {
        Box::pin(async move { self.agent(node)?.fire(shot, signal.number()).await.map_err(|why| failed(node)(why.into())) })
    }

    fn hold_network(&self, _: Duration) -> BoxFuture<'_, Result<(), FaultError>> {
        // Snapshots hold it. They arrive over the socket, where the end of the connection is the limit.
        Box::pin(async { Err(FaultError::new("only a command can hold the network")) })
    }

    fn impair<'a>(&'a self, edges: &'a ImpairedEdges) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            self.0.impair(edges.clone()).await;
            Ok(())
        })
    }

    fn mend<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            self.0.mend(id).await;
            Ok(())
        })
    }

    fn release_network(&self) -> BoxFuture<'_, Result<HeldFrames, FaultError>> {
        Box::pin(async move { Ok(self.0.switch.release().await) })
    }
}
