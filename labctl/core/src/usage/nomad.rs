//! What Nomad has given to its jobs on each client, and how many more instances its clients have room for.

use std::collections::BTreeMap;
use std::str::FromStr;

use labctl_lab::{Failure, Kind};
use serde::Serialize;
use serde_json::Value;

use crate::nomad::Nomad;

/// Processor shares in MHz and memory in MiB, as Nomad counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Amount {
    cpu: u64,
    memory: u64,
}

/// What Nomad says of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its name in Nomad.
    pub name: String,
    /// `ready`, `down` and so on; `draining` or `ineligible` if nothing new is placed there.
    pub status: String,
    /// What jobs can have of its processors, in MHz.
    pub cpu_mhz: u64,
    /// What they have.
    pub cpu_allocated_mhz: u64,
    /// What jobs can have of its memory, in MiB.
    pub memory_mib: u64,
    /// What they have.
    pub memory_allocated_mib: u64,
    /// How many allocations it has.
    pub allocations: usize,
    /// How many more instances fit, if that was asked.
    pub fits: Option<u64>,
}

/// What to look for room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// An instance of each of the groups of a job.
    Job(String),
    /// So much processor and memory.
    Amount {
        /// In MHz.
        cpu: u64,
        /// In MiB.
        memory: u64,
    },
}

/// How much more fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The job, if one was named.
    pub job: Option<String>,
    /// Processor of one instance, in MHz.
    pub cpu_mhz: u64,
    /// Memory of one instance, in MiB.
    pub memory_mib: u64,
    /// How many more instances all clients together have room for.
    pub more: u64,
}

impl FromStr for Want {
    type Err = String;

    /// `cpu=20,memory=20`, or the name of a job.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return if text.is_empty() {
                Err("write a job's name, or cpu=20,memory=20".to_owned())
            } else {
                Ok(Self::Job(text.to_owned()))
            };
        }
        let mut amount = Amount::default();
        for pair in text.split(',') {
            let wrong = || format!("`{pair}`: write cpu=MHZ,memory=MIB, such as cpu=20,memory=20");
            let (name, number) = pair.split_once('=').ok_or_else(wrong)?;
            let number = number.parse().map_err(|_| wrong())?;
            match name {
                "cpu" => amount.cpu = number,
                "memory" => amount.memory = number,
                _ => return Err(wrong()),
            }
        }
        if amount == Amount::default() {
            return Err("an instance that needs nothing always fits".to_owned());
        }
        Ok(Self::Amount { cpu: amount.cpu, memory: amount.memory })
    }
}

impl Client {
    /// How many more instances it has room for, by processor and memory alone.
    pub(super) fn room_for(&self, fit: &Fit) -> u64 {
        if self.status != "ready" {
            return 0;
        }
        // What an instance does not need is never short.
        let times = |all: u64, taken: u64, one: u64| all.saturating_sub(taken).checked_div(one).unwrap_or(u64::MAX);
        let by_cpu = times(self.cpu_mhz, self.cpu_allocated_mhz, fit.cpu_mhz);
        by_cpu.min(times(self.memory_mib, self.memory_allocated_mib, fit.memory_mib))
    }
}

/// All clients with what their allocations have.
pub(super) async fn clients(nomad: &Nomad<'_>) -> Result<Vec<Client>, Failure> {
    let (nodes, allocations) =
        tokio::try_join!(nomad.get("/v1/nodes?resources=true"), nomad.get("/v1/allocations?resources=true&namespace=*"))?;
    Ok(joined(&nodes, &allocations))
}

fn joined(nodes: &Value, allocations: &Value) -> Vec<Client> {
    let mut taken: BTreeMap<&str, (Amount, usize)> = BTreeMap::new();
    for allocation in list(allocations) {
        // These have given back what they had.
        if matches!(word(&allocation["ClientStatus"]), "complete" | "failed" | "lost") {
            continue;
        }
        let (sum, count) = taken.entry(word(&allocation["NodeID"])).or_default();
        for task in allocation["AllocatedResources"]["Tasks"].as_object().into_iter().flat_map(|tasks| tasks.values()) {
            sum.cpu += number(&task["Cpu"]["CpuShares"]);
            sum.memory += number(&task["Memory"]["MemoryMB"]);
        }
        *count += 1;
    }
    let client = |node: &Value| {
        let (sum, count) = taken.get(word(&node["ID"])).copied().unwrap_or_default();
        let room = |kind: &str, unit: &str| {
            number(&node["NodeResources"][kind][unit]).saturating_sub(number(&node["ReservedResources"][kind][unit]))
        };
        let status = match word(&node["Status"]) {
            "ready" if node["Drain"] == true => "draining",
            "ready" if node["SchedulingEligibility"] == "ineligible" => "ineligible",
            status => status,
        };
        Client {
            name: word(&node["Name"]).to_owned(),
            status: status.to_owned(),
            cpu_mhz: room("Cpu", "CpuShares"),
            cpu_allocated_mhz: sum.cpu,
            memory_mib: room("Memory", "MemoryMB"),
            memory_allocated_mib: sum.memory,
            allocations: count,
            fits: None,
        }
    };
    list(nodes).map(client).collect()
}

/// What one instance needs.
pub(super) async fn fit(nomad: &Nomad<'_>, want: &Want) -> Result<Fit, Failure> {
    match want {
        Want::Amount { cpu, memory } => Ok(Fit { job: None, cpu_mhz: *cpu, memory_mib: *memory, more: 0 }),
        Want::Job(name) => {
            let job = nomad.get(&nomad.job_path(name, "")).await.map_err(|why| match why.kind {
                Kind::NotFound => Failure::new(Kind::NotFound, format!("Nomad has no job `{name}`"))
                    .hint("`nomad job status` lists jobs; or say what an instance needs: --fit cpu=20,memory=20"),
                _ => why,
            })?;
            let need = need(&job);
            if need == Amount::default() {
                return Err(Failure::new(Kind::Conflict, format!("job `{name}` has no tasks that need processor or memory")));
            }
            Ok(Fit { job: Some(name.clone()), cpu_mhz: need.cpu, memory_mib: need.memory, more: 0 })
        }
    }
}

/// What an instance of each of a job's groups needs together.
fn need(job: &Value) -> Amount {
    let mut sum = Amount::default();
    for task in list(&job["TaskGroups"]).flat_map(|group| list(&group["Tasks"])) {
        sum.cpu += number(&task["Resources"]["CPU"]);
        sum.memory += number(&task["Resources"]["MemoryMB"]);
    }
    sum
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Vec<Client> {
        let node = |id: &str, name: &str, eligibility: &str| {
            json!({ "ID": id, "Name": name, "Status": "ready", "Drain": false, "SchedulingEligibility": eligibility,
                "NodeResources": { "Cpu": { "CpuShares": 1000 }, "Memory": { "MemoryMB": 512 } },
                "ReservedResources": { "Cpu": { "CpuShares": 100 }, "Memory": { "MemoryMB": 112 } } })
        };
        let allocation = |node: &str, status: &str| {
            let task = json!({ "Cpu": { "CpuShares": 50 }, "Memory": { "MemoryMB": 32 } });
            json!({ "NodeID": node, "ClientStatus": status, "AllocatedResources": { "Tasks": { "a": task, "b": task } } })
        };
        let nodes = json!([node("1", "client1", "eligible"), node("2", "client2", "ineligible")]);
        let allocations =
            json!([allocation("1", "running"), allocation("1", "pending"), allocation("1", "failed"), allocation("2", "running")]);
        joined(&nodes, &allocations)
    }

    #[test]
    fn clients_have_what_is_not_reserved_and_give_what_is_not_over() {
        let clients = example();
        let one = &clients[0];
        assert_eq!(
            (one.cpu_mhz, one.cpu_allocated_mhz, one.memory_mib, one.memory_allocated_mib, one.allocations),
            (900, 200, 400, 128, 2)
        );
        assert_eq!((clients[1].status.as_str(), clients[1].allocations), ("ineligible", 1));
    }

    #[test]
    fn the_scarcer_of_both_decides() {
        let clients = example();
        let fit = |cpu_mhz, memory_mib| Fit { job: None, cpu_mhz, memory_mib, more: 0 };
        assert_eq!(clients[0].room_for(&fit(100, 1)), 7);
        assert_eq!(clients[0].room_for(&fit(100, 100)), 2);
        assert_eq!(clients[0].room_for(&fit(0, 272)), 1);
        assert_eq!(clients[1].room_for(&fit(1, 1)), 0, "nothing is placed there");
    }

    #[test]
    fn an_instance_is_all_tasks_of_all_groups() {
        let task = |cpu: u64, memory: u64| json!({ "Resources": { "CPU": cpu, "MemoryMB": memory } });
        let job = json!({ "TaskGroups": [{ "Tasks": [task(20, 30), task(1, 2)] }, { "Tasks": [task(100, 64)] }] });
        assert_eq!(need(&job), Amount { cpu: 121, memory: 96 });
    }

    #[test]
    fn amounts_and_jobs_are_told_apart() {
        assert_eq!("cpu=20,memory=30".parse(), Ok(Want::Amount { cpu: 20, memory: 30 }));
        assert_eq!("memory=30".parse(), Ok(Want::Amount { cpu: 0, memory: 30 }));
        assert_eq!("web-server".parse(), Ok(Want::Job("web-server".into())));
        for wrong in ["", "cpu=x", "cpu=1,disk=2", "cpu=0", "cpu=1,"] {
            assert!(wrong.parse::<Want>().is_err(), "{wrong}");
        }
    }
}
