//! Consul's health, queried over one agent's HTTP interface
//! (<https://developer.hashicorp.com/consul/api-docs>: status, health, agent).
//!
//! `/v1/status/leader` alone is not fresh: a server that has not yet missed a heartbeat reports a dead leader for
//! seconds. The catalog is therefore read with `consistent`, which the leader answers only after a quorum has confirmed
//! its leadership.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use labctl_spec::scenario::ConsulCheck;
use serde::Deserialize;

use super::json::{Api, segment, verdict};
use super::{Answer, blamed};
use crate::target::ProbeTarget;

/// Consul's default HTTP port.
const PORT: u16 = 8500;

/// serf's `StatusAlive`.
const ALIVE: u8 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    node: String,
    name: String,
    status: String,
    #[serde(default)]
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    status: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: InstanceNode,
    checks: Vec<HealthCheck>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceNode {
    node: String,
}

pub(super) async fn ask(check: &ConsulCheck, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    let api = Api { target, node: &check.node, port: PORT, limit };
    // Without a leader nothing else can be answered, and all further queries would time out.
    let leader = match api.leader().await {
        Ok(leader) => leader,
        Err(why) => return Answer::no(why),
    };
    let health = async {
        let checks: Vec<HealthCheck> = api.get("/v1/health/state/any?consistent").await?;
        all_passing(&checks)
    };
    let members = async {
        let Some(wanted) = check.members else {
            return Ok(None);
        };
        let members: Vec<Member> = api.get("/v1/agent/members").await?;
        enough_members(&members, wanted).map(Some)
    };
    let services = join_all(check.services.iter().map(|(name, wanted)| {
        let api = &api;
        async move {
            let path = format!("/v1/health/service/{}?consistent", segment(name));
            let instances: Vec<Instance> = api.get(&path).await?;
            enough_instances(name, &instances, *wanted)
        }
    }));
    let (health, members, services) = tokio::join!(health, members, services);

    let mut found = vec![Ok(format!("leader {leader}"))];
    found.extend(members.transpose());
    found.extend(services);
    found.push(health);
    verdict(found)
}

fn all_passing(checks: &[HealthCheck]) -> Result<String, String> {
    let passing = checks.iter().filter(|c| c.status == "passing").count();
    let total = checks.len();
    // The servers' own serfHealth is always registered, so no checks at all means that the catalog is still empty.
    if total == 0 {
        return Err("no checks are registered".to_owned());
    }
    if passing == total {
        return Ok(format!("{total} of {total} checks passing"));
    }
    let mut by_status: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for check in checks.iter().filter(|c| c.status != "passing") {
        let what = match check.service_name.as_str() {
            "" => &check.name,
            service => service,
        };
        let culprits = by_status.entry(&check.status).or_default();
        culprits.push(format!("{what} on {}", check.node));
    }
    let culprits: String = by_status.into_iter().map(|(status, names)| blamed(status, names)).collect();
    Err(format!("{passing} of {total} checks passing{culprits}"))
}

fn enough_members(members: &[Member], wanted: u32) -> Result<String, String> {
    let alive = members.iter().filter(|m| m.status == ALIVE).count();
    let words = format!("{alive} of {wanted} members alive");
    if alive >= wanted as usize {
        return Ok(words);
    }
    let others = members.iter().filter(|m| m.status != ALIVE);
    let others = others.map(|m| format!("{} {}", m.name, serf_status(m.status))).collect();
    Err(words + &blamed("others", others))
}

/// serf's names for its states.
fn serf_status(status: u8) -> &'static str {
    match status {
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "unknown",
    }
}

fn enough_instances(name: &str, instances: &[Instance], wanted: u32) -> Result<String, String> {
    let healthy = |instance: &&Instance| instance.checks.iter().all(|c| c.status == "passing");
    let passing = instances.iter().filter(healthy).count();
    let words = format!("service {name}: {passing} of {wanted} passing");
    if passing >= wanted as usize {
        return Ok(words);
    }
    let mut by_status: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for instance in instances.iter().filter(|i| !healthy(i)) {
        // The worst check determines the instance's status; Consul counts maintenance and unknown states as critical.
        let warning = |c: &HealthCheck| matches!(c.status.as_str(), "passing" | "warning");
        let status = match instance.checks.iter().all(warning) {
            true => "warning",
            false => "critical",
        };
        let culprits = by_status.entry(status).or_default();
        culprits.push(instance.node.node.clone());
    }
    let culprits: String = by_status.into_iter().map(|(status, names)| blamed(status, names)).collect();
    Err(words + &culprits)
}

#[cfg(test)]
#[path = "consul_tests.rs"]
mod tests;
