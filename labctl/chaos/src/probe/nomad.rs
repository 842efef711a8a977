//! Nomad's health, queried over one agent's HTTP interface
//! (<https://developer.hashicorp.com/nomad/api-docs>: status, nodes, jobs).
//!
//! `/v1/status/leader` may report a dead leader for seconds. Lists are read without `stale`, so they come from the
//! leader itself, which steps down once it loses its quorum: a response is fresh proof of a leader.

use std::time::Duration;

use futures_util::future::join_all;
use labctl_spec::scenario::NomadCheck;
use serde::Deserialize;

use super::json::{Api, segment, verdict};
use super::{Answer, blamed};
use crate::target::ProbeTarget;

/// Nomad's default HTTP port.
const PORT: u16 = 4646;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Client {
    name: String,
    status: String,
    #[serde(default)]
    scheduling_eligibility: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Allocation {
    #[serde(default)]
    node_name: String,
    client_status: String,
    desired_status: String,
    deployment_status: Option<DeploymentStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeploymentStatus {
    healthy: Option<bool>,
}

impl Client {
    fn ready(&self) -> bool {
        self.status == "ready" && self.scheduling_eligibility == "eligible"
    }
}

impl Allocation {
    /// Running, meant to run, and healthy according to its deployment, if it has one.
    fn healthy(&self) -> bool {
        self.client_status == "running" && self.deployment_status.as_ref().is_none_or(|status| status.healthy == Some(true))
    }
}

pub(super) async fn ask(check: &NomadCheck, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    let api = Api { target, node: &check.node, port: PORT, limit };
    let leader = match api.leader().await {
        Ok(leader) => leader,
        Err(why) => return Answer::no(why),
    };
    // Queried even if no number of clients is expected, because the response proves that a leader is active.
    let clients = async {
        let clients: Vec<Client> = api.get("/v1/nodes").await?;
        enough_clients(&clients, check.clients)
    };
    let jobs = join_all(check.jobs.iter().map(|(name, wanted)| {
        let api = &api;
        async move {
            let path = format!("/v1/job/{}/allocations", segment(name));
            let allocations: Vec<Allocation> = api.get(&path).await?;
            enough_allocations(name, &allocations, *wanted)
        }
    }));
    let (clients, jobs) = tokio::join!(clients, jobs);

    let mut found = vec![Ok(format!("leader {leader}"))];
    found.extend(clients.transpose());
    found.extend(jobs);
    verdict(found)
}

fn enough_clients(clients: &[Client], wanted: Option<u32>) -> Result<Option<String>, String> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let ready = clients.iter().filter(|c| c.ready()).count();
    let words = format!("{ready} of {wanted} clients ready");
    if ready >= wanted as usize {
        return Ok(Some(words));
    }
    let others = clients.iter().filter(|c| !c.ready()).map(|client| {
        let status = match client.status.as_str() {
            "ready" => &client.scheduling_eligibility,
            status => status,
        };
        format!("{} {status}", client.name)
    });
    Err(words + &blamed("others", others.collect()))
}

fn enough_allocations(name: &str, allocations: &[Allocation], wanted: u32) -> Result<String, String> {
    let current: Vec<&Allocation> = allocations.iter().filter(|a| a.desired_status == "run").collect();
    let healthy = current.iter().filter(|a| a.healthy()).count();
    let words = format!("job {name}: {healthy} of {wanted} running");
    if healthy >= wanted as usize {
        return Ok(words);
    }
    let others = current.iter().filter(|a| !a.healthy()).map(|allocation| {
        let status = match allocation.client_status.as_str() {
            "running" => "not yet healthy",
            status => status,
        };
        format!("{status} on {}", allocation.node_name)
    });
    Err(words + &blamed("others", others.collect()))
}

#[cfg(test)]
#[path = "nomad_tests.rs"]
mod tests;
