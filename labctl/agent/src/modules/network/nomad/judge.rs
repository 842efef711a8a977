//! Whether a job runs as specified, is about to, or needs intervention.

use crate::modules::network::nomad::look::{Allocation, Group, Look};
use crate::modules::network::nomad::words;

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// As specified; with a description.
    AsAsked(String),
    /// In progress; with what is still missing.
    UnderWay(String),
    /// Nothing will happen by itself.
    Astray(Astray, String),
}

/// What has to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Astray {
    /// It was stopped and must be registered again.
    Stopped,
    /// Its deployment failed: Nomad places nothing more for this version of the job.
    Failed,
    /// Instances are missing: Nomad must evaluate the job again.
    Missing,
}

impl Look {
    pub(super) fn standing(&self) -> Standing {
        if self.job.stop {
            return Standing::Astray(Astray::Stopped, "the job is stopped".into());
        }
        if self.job.periodic.is_some() || self.job.parameterized_job.is_some() {
            return Standing::AsAsked("it runs when it is due or dispatched".into());
        }
        if let Some(deployment) = &self.deployment {
            match deployment.status.as_str() {
                "successful" => {}
                "failed" | "cancelled" => {
                    return Standing::Astray(Astray::Failed, words::failed_deployment(deployment, &self.allocations));
                }
                _ if deployment.waits_for_promotion() => {
                    return Standing::AsAsked("its canaries are healthy and wait for `nomad deployment promote`".into());
                }
                _ => return Standing::UnderWay(words::deployment(deployment)),
            }
        }
        let missing: Vec<String> = self.job.task_groups.iter().filter_map(|group| self.lacks(group)).collect();
        if missing.is_empty() {
            return Standing::AsAsked(words::instances(&self.job));
        }
        let missing = missing.join(", ");
        if self.is_under_way() { Standing::UnderWay(missing) } else { Standing::Astray(Astray::Missing, missing) }
    }

    /// Whether this allocation does what the job specifies.
    fn is_fine(&self, allocation: &Allocation) -> bool {
        let ends = matches!(self.job.kind.as_str(), "batch" | "sysbatch");
        let runs = allocation.desired_status == "run" && allocation.client_status == "running" && !allocation.is_unhealthy();
        allocation.job_version == self.job.version && (runs || ends && allocation.client_status == "complete")
    }

    /// What a group lacks, if anything.
    fn lacks(&self, group: &Group) -> Option<String> {
        let mine = || self.allocations.iter().filter(|allocation| allocation.task_group == group.name);
        let fine = mine().filter(|allocation| self.is_fine(allocation)).count();
        let wanted = match self.job.kind.as_str() {
            // One per matching client; only Nomad knows which clients match.
            "system" | "sysbatch" => mine().filter(|one| one.desired_status == "run" && one.client_status != "complete").count(),
            // It has run; Nomad removes the allocations of finished jobs.
            "batch" if self.job.status == "dead" && !mine().any(Allocation::is_failed) => fine,
            _ => group.count,
        };
        let unsettled = matches!(self.job.kind.as_str(), "system" | "sysbatch") && self.is_under_way();
        (fine < wanted || unsettled).then(|| format!("group {}: {fine} of {wanted} instances run", group.name))
    }

    /// Whether Nomad or one of its clients still has something to do.
    fn is_under_way(&self) -> bool {
        let waits = self.evaluations.iter().any(|one| matches!(one.status.as_str(), "pending" | "blocked"));
        waits || self.allocations.iter().any(|one| one.desired_status == "run" && one.client_status == "pending")
    }

    /// Whether an evaluation waits for clients or resources, and nothing else is in progress.
    pub(super) fn is_stuck(&self) -> bool {
        let blocked = self.evaluations.iter().any(|one| one.status == "blocked");
        let pending = self.evaluations.iter().any(|one| one.status == "pending");
        let starting = self.allocations.iter().any(|one| {
            let decided = one.deployment_status.as_ref().is_some_and(|health| health.healthy.is_some());
            one.desired_status == "run" && (one.client_status == "pending" || self.deployment.is_some() && !decided)
        });
        blocked && !pending && !starting
    }

    /// Anything new counts as progress. A new allocation that replaces a failed one does not: otherwise a task that never comes up would
    /// be waited for forever.
    pub(super) fn facts(&self) -> Vec<String> {
        let version = self.job.version;
        let mut facts = vec![format!("version {version}")];
        if let Some(deployment) = &self.deployment {
            facts.push(format!("deployment {} is {}", deployment.id, deployment.status));
            for (name, rollout) in &deployment.task_groups {
                facts.push(format!("deployment {} placed {} of {name}", deployment.id, rollout.placed_allocs));
                facts.push(format!("deployment {} has {} of {name} healthy", deployment.id, rollout.healthy_allocs));
            }
        }
        // For these job types all allocations have the same name.
        let everywhere = matches!(self.job.kind.as_str(), "system" | "sysbatch");
        for allocation in self.current() {
            let name = if everywhere { format!("{} on {}", allocation.name, allocation.node_name) } else { allocation.name.clone() };
            facts.push(format!("{version} {name} is {}", allocation.client_status));
            for (task, state) in &allocation.task_states {
                facts.push(format!("{version} {name} {task} is {}", state.state));
                facts.extend(state.events.iter().map(|event| format!("{version} {name} {task}: {}", event.kind)));
            }
        }
        facts
    }
}

impl Look {
    /// Whether Nomad does not replace failed instances of a group.
    pub(super) fn keeps_failed(&self, group: &str) -> bool {
        let reschedules = self.job.kind == "service" || self.job.kind == "batch";
        reschedules && self.job.task_groups.iter().any(|one| one.name == group && !one.replaces_failed())
    }

    /// The allocations of this version that should run.
    pub(super) fn current(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.iter().filter(|one| one.job_version == self.job.version && one.desired_status == "run")
    }
}
