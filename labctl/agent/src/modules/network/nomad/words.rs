//! Descriptions of Nomad's reasons.

use std::collections::BTreeMap;

use crate::modules::network::nomad::look::{Allocation, Deployment, Evaluation, Job, Placement};

/// Events that explain why a task does not run.
const CAUSES: [&str; 5] = ["Driver Failure", "Setup Failure", "Failed Validation", "Failed Artifact Download", "Terminated"];

/// Maximum number of allocations listed in a message.
const TOLD: usize = 3;

/// The progress of a deployment.
pub(super) fn deployment(deployment: &Deployment) -> String {
    let groups: Vec<String> = deployment
        .task_groups
        .iter()
        .map(|(name, rollout)| {
            let (healthy, total) = (rollout.healthy_allocs, rollout.desired_total);
            format!("group {name}: {healthy} of {total} instances are healthy, {} placed", rollout.placed_allocs)
        })
        .collect();
    match deployment.status.as_str() {
        "running" | "pending" => groups.join(", "),
        status => format!("the deployment is {status} ({}); {}", deployment.status_description, groups.join(", ")),
    }
}

/// Why a deployment failed, with the groups that did not become healthy and the latest events of their tasks.
pub(super) fn failed_deployment(found: &Deployment, allocations: &[Allocation]) -> String {
    let reason = format!("its deployment {}: {}", found.status, found.status_description.trim_end_matches('.'));
    let short: Vec<&String> =
        found.task_groups.iter().filter(|(_, one)| one.healthy_allocs < one.desired_total).map(|(name, _)| name).collect();
    let groups: Vec<String> = found
        .task_groups
        .iter()
        .filter(|(name, _)| short.contains(name))
        .map(|(name, one)| format!("group {name}: {} of {} instances became healthy", one.healthy_allocs, one.desired_total))
        .collect();
    let troubled =
        troubled(allocations.iter().filter(|one| one.job_version == found.job_version && short.contains(&&one.task_group)), true);
    [vec![reason], groups, troubled].concat().join("; ")
}

/// The instances of a job that runs as specified.
pub(super) fn instances(job: &Job) -> String {
    let groups: Vec<String> = job.task_groups.iter().map(|group| format!("{} of {}", group.count, group.name)).collect();
    match job.kind.as_str() {
        "service" => format!("{} run", groups.join(", ")),
        _ => "it is running, or has run".to_owned(),
    }
}

/// The latest events of allocations that are not well; failed ones first, and the latest of those first.
pub(super) fn troubled<'a>(allocations: impl Iterator<Item = &'a Allocation>, watched: bool) -> Vec<String> {
    let mut troubled: Vec<&Allocation> = allocations.filter(|one| !one.is_well(watched)).collect();
    troubled.sort_by_key(|one| (one.client_status != "failed" && !one.is_unhealthy(), std::cmp::Reverse(one.modify_index)));
    troubled.into_iter().take(TOLD).map(allocation).collect()
}

fn allocation(one: &Allocation) -> String {
    let said = one.task_states.iter().filter_map(|(task, state)| {
        // Why it stopped, and its latest event.
        let cause = state.events.iter().rposition(|event| CAUSES.contains(&event.kind.as_str()));
        let last = state.events.len().checked_sub(1);
        let events: Vec<&str> =
            cause.filter(|cause| Some(*cause) != last).into_iter().chain(last).map(|at| state.events[at].display_message.trim()).collect();
        (!events.is_empty()).then(|| format!("task {task}: {}", events.join(", then ")))
    });
    let said: Vec<String> = said.collect();
    let said = if said.is_empty() { one.client_description.clone() } else { said.join("; ") };
    let health = if one.is_unhealthy() { ", unhealthy" } else { "" };
    let id = one.id.get(..8).unwrap_or(&one.id);
    format!("{} on {} is {}{health} ({said}; nomad alloc status {id})", one.name, one.node_name, one.client_status)
}

/// Why groups could not be placed, from the latest evaluation that gives a reason.
pub(super) fn placement(evaluations: &[Evaluation]) -> Vec<String> {
    let latest = evaluations.iter().filter(|one| !one.failed_groups.is_empty()).max_by_key(|one| one.create_index);
    latest.map(|one| one.failed_groups.iter().map(|(group, why)| unplaced(group, why)).collect()).unwrap_or_default()
}

fn unplaced(group: &str, why: &Placement) -> String {
    if why.nodes_evaluated == 0 {
        return format!("group {group}: there is no client for it in its datacenters and node pool");
    }
    let each = |what: &str, counts: &BTreeMap<String, u64>| -> Vec<String> {
        counts.iter().map(|(name, count)| format!("{count} {what} {name}")).collect()
    };
    let mut reasons = each("excluded by the constraint", &why.constraint_filtered);
    reasons.extend(each("excluded by the class", &why.class_filtered));
    reasons.extend(each("without capacity for", &why.dimension_exhausted));
    if reasons.is_empty() && why.nodes_exhausted > 0 {
        reasons.push(format!("{} without capacity", why.nodes_exhausted));
    }
    format!("group {group}: none of {} clients can take an instance: {}", why.nodes_evaluated, reasons.join(", "))
}
