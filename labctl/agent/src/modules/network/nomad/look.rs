//! Nomad's state of a job at one moment: the job, its latest deployment, its evaluations and its allocations
//! (<https://developer.hashicorp.com/nomad/api-docs/jobs>).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::modules::network::nomad::api::{Api, No};
use crate::modules::network::rest::quote;

/// Go encodes an empty list or map as null.
fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Job {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) stop: bool,
    pub(super) version: u64,
    pub(super) create_index: u64,
    /// Set whenever the job is registered.
    pub(super) job_modify_index: u64,
    /// Nanoseconds since 1970, likewise.
    pub(super) submit_time: i64,
    pub(super) periodic: Option<Value>,
    pub(super) parameterized_job: Option<Value>,
    #[serde(deserialize_with = "filled")]
    pub(super) task_groups: Vec<Group>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) count: usize,
    pub(super) reschedule_policy: Option<Reschedule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Reschedule {
    attempts: u64,
    unlimited: bool,
}

impl Group {
    /// Whether Nomad may replace a failed instance.
    pub(super) fn replaces_failed(&self) -> bool {
        self.reschedule_policy.as_ref().is_some_and(|policy| policy.unlimited || policy.attempts > 0)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Deployment {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) job_version: u64,
    pub(super) job_create_index: u64,
    pub(super) status: String,
    pub(super) status_description: String,
    #[serde(deserialize_with = "filled")]
    pub(super) task_groups: BTreeMap<String, Rollout>,
}

/// The progress of a deployment for one group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Rollout {
    pub(super) desired_total: u64,
    pub(super) desired_canaries: u64,
    pub(super) promoted: bool,
    pub(super) auto_promote: bool,
    pub(super) placed_allocs: u64,
    pub(super) healthy_allocs: u64,
}

impl Rollout {
    fn waits_for_promotion(&self) -> bool {
        self.desired_canaries > 0 && !self.promoted && !self.auto_promote && self.healthy_allocs >= self.desired_canaries
    }
}

impl Deployment {
    /// Whether it deploys this version of the job.
    fn is_of(&self, job: &Job) -> bool {
        self.job_version == job.version && self.job_create_index == job.create_index
    }

    /// Neither finished nor cancelled.
    pub(super) fn is_going_on(&self) -> bool {
        !matches!(self.status.as_str(), "successful" | "failed" | "cancelled")
    }

    /// Whether a person must promote it.
    pub(super) fn waits_for_promotion(&self) -> bool {
        let done = |rollout: &Rollout| rollout.desired_canaries == 0 && rollout.healthy_allocs >= rollout.desired_total;
        self.is_going_on()
            && self.task_groups.values().any(Rollout::waits_for_promotion)
            && self.task_groups.values().all(|rollout| rollout.waits_for_promotion() || done(rollout))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Evaluation {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) status: String,
    pub(super) status_description: String,
    pub(super) create_index: u64,
    pub(super) blocked_eval: String,
    #[serde(rename = "FailedTGAllocs", deserialize_with = "filled")]
    pub(super) failed_groups: BTreeMap<String, Placement>,
}

/// Why a group could not be placed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Placement {
    pub(super) nodes_evaluated: u64,
    #[serde(deserialize_with = "filled")]
    pub(super) constraint_filtered: BTreeMap<String, u64>,
    #[serde(deserialize_with = "filled")]
    pub(super) class_filtered: BTreeMap<String, u64>,
    pub(super) nodes_exhausted: u64,
    #[serde(deserialize_with = "filled")]
    pub(super) dimension_exhausted: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Allocation {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) task_group: String,
    pub(super) node_name: String,
    pub(super) job_version: u64,
    pub(super) desired_status: String,
    pub(super) client_status: String,
    pub(super) client_description: String,
    pub(super) next_allocation: String,
    pub(super) modify_index: u64,
    pub(super) deployment_status: Option<Health>,
    #[serde(deserialize_with = "filled")]
    pub(super) task_states: BTreeMap<String, TaskState>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Health {
    pub(super) healthy: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaskState {
    pub(super) state: String,
    #[serde(deserialize_with = "filled")]
    pub(super) events: Vec<TaskEvent>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaskEvent {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) display_message: String,
}

impl Allocation {
    /// Failed and not replaced.
    pub(super) fn is_failed(&self) -> bool {
        self.desired_status == "run" && self.client_status == "failed" && self.next_allocation.is_empty()
    }

    /// Complete or running, and healthy if a deployment decides that (`watched`).
    pub(super) fn is_well(&self, watched: bool) -> bool {
        let healthy = !watched || self.deployment_status.as_ref().is_some_and(|health| health.healthy == Some(true));
        self.client_status == "complete" || self.client_status == "running" && healthy
    }

    /// Whether a deployment found it unhealthy.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.deployment_status.as_ref().is_some_and(|health| health.healthy == Some(false))
    }
}

/// The complete state.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) job: Job,
    /// The deployment of exactly this version of the job.
    pub(super) deployment: Option<Deployment>,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) allocations: Vec<Allocation>,
    /// Where to wait for newer data: a path, and the index that was seen.
    pub(super) newer: (String, u64),
}

/// Reads the state of a job without its evaluations, which do not matter as long as nothing is missing.
pub(super) fn glance(api: &Api<'_>, id: &str) -> Result<Look, No> {
    let path = format!("/job/{}", quote(id));
    let job: Job = api.get(&path)?.value;
    let deployment = api.get::<Option<Deployment>>(&format!("{path}/deployment"))?.value;
    let allocations = api.get::<Option<Vec<Allocation>>>(&format!("{path}/allocations"))?.value.unwrap_or_default();
    let deployment = deployment.filter(|found| found.is_of(&job));
    Ok(Look { job, deployment, allocations, ..Look::default() })
}

/// Reads the state of a job. Evaluations are read before the allocations that they create, so that nothing placed meanwhile is missed.
pub(super) fn look(api: &Api<'_>, id: &str) -> Result<Look, No> {
    let path = format!("/job/{}", quote(id));
    let job: Job = api.get(&path)?.value;
    let deployment = api.get::<Option<Deployment>>(&format!("{path}/deployment"))?;
    let evaluations = api.get::<Option<Vec<Evaluation>>>(&format!("{path}/evaluations"))?.value.unwrap_or_default();
    let allocations = api.get::<Option<Vec<Allocation>>>(&format!("{path}/allocations"))?;
    let found = deployment.value.filter(|found| found.is_of(&job));
    let newer = match &found {
        Some(found) if found.is_going_on() => (format!("{path}/deployment"), deployment.index),
        _ => (format!("{path}/allocations"), allocations.index),
    };
    Ok(Look { job, deployment: found, evaluations, allocations: allocations.value.unwrap_or_default(), newer })
}
