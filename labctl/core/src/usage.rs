//! What the nodes use of processor and memory: in the guests, as their kernels count it, and on the host, as it counts their machines. For a
//! lab with Nomad also what Nomad has given to its jobs, and how much more fits.

mod guest;
mod host;
mod nomad;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use labctl_guest::Agent;
use labctl_lab::Failure;
use labctl_lab::client::Supervisor;
use labctl_lab::control::NodeStatus;
use labctl_lab::event::NodeState;
use labctl_lab::record::Record;
use labctl_spec::ident::NodeName;
use serde::Serialize;
use tokio::time::timeout;

use crate::nomad::Nomad;

pub use nomad::{Client, Fit, Want};

/// How long a guest may take to answer before its row stays empty.
const ANSWER: Duration = Duration::from_secs(5);

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Usage {
    /// The lab.
    pub lab: String,
    /// Its nodes, in the order of the lab file.
    pub nodes: Vec<NodeUsage>,
    /// What more fits, if that was asked.
    pub fit: Option<Fit>,
}

/// A node's row. What is not known is none.
#[derive(Debug, Clone, Serialize)]
pub struct NodeUsage {
    /// The node.
    pub node: NodeName,
    /// The state in a word.
    pub state: &'static str,
    /// Virtual CPUs.
    pub cpus: u32,
    /// How busy they are in the guest, in percent of all of them. None in the first measurement.
    pub cpu_percent: Option<f64>,
    /// Memory in use in the guest, in MiB: all but what is available to new programs.
    pub memory_used_mib: Option<u64>,
    /// The guest's memory in MiB, as its kernel counts it.
    pub memory_mib: Option<u64>,
    /// The machine's use of the host's processors; 100 is one of them. None in the first measurement.
    pub host_cpu_percent: Option<f64>,
    /// The host's memory that the machine takes, in MiB; what several machines share counts in parts if the host tells.
    pub host_memory_mib: Option<u64>,
    /// What Nomad says of the node, if it is one of its clients.
    pub nomad: Option<Client>,
}

/// What was measured of a node, for the next measurement.
#[derive(Debug, Clone, Default)]
struct Sample {
    guest: Option<guest::Times>,
    host: Option<(Instant, f64)>,
}

/// Measures a lab again and again.
pub struct Meter<'a> {
    supervisor: &'a Supervisor,
    record: &'a Record,
    nodes: &'a [NodeName],
    agents: BTreeMap<NodeName, Agent>,
    before: BTreeMap<NodeName, Sample>,
}

impl<'a> Meter<'a> {
    /// A meter for these nodes.
    pub fn new(supervisor: &'a Supervisor, record: &'a Record, nodes: &'a [NodeName]) -> Self {
        Self { supervisor, record, nodes, agents: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// Measures once. Processor times are those since the measurement before.
    pub async fn measure(&mut self, want: Option<&Want>) -> Result<Usage, Failure> {
        let status = self.supervisor.status().await?;
        let runs = |node: &&NodeStatus| node.state == NodeState::Running;
        let running: Vec<NodeName> = status.nodes.iter().filter(runs).map(|node| node.name.clone()).collect();
        let shown: Vec<&NodeStatus> = status.nodes.iter().filter(|node| self.nodes.is_empty() || self.nodes.contains(&node.name)).collect();
        let (supervisor, agents, before) = (self.supervisor, &self.agents, &self.before);
        let measured = join_all(shown.into_iter().map(|node| one(supervisor, agents.get(&node.name), before.get(&node.name), node))).await;
        let mut nodes = Vec::new();
        for (node, sample, agent) in measured {
            match agent {
                Some(agent) => self.agents.insert(node.node.clone(), agent),
                // It is asked over a new channel next time.
                None => self.agents.remove(&node.node),
            };
            self.before.insert(node.node.clone(), sample);
            nodes.push(node);
        }
        let fit = self.ask_nomad(&running, &mut nodes, want).await?;
        Ok(Usage { lab: status.lab, nodes, fit })
    }

    async fn ask_nomad(&self, running: &[NodeName], nodes: &mut [NodeUsage], want: Option<&Want>) -> Result<Option<Fit>, Failure> {
        let nomad = match (Nomad::find(self.supervisor, &self.record.lab, running).await, want) {
            (Ok(nomad), _) => nomad,
            (Err(_), None) => return Ok(None),
            (Err(reasons), Some(_)) => return Err(crate::nomad::nowhere(reasons)),
        };
        let clients = match (nomad::clients(&nomad).await, want) {
            (Ok(clients), _) => clients,
            // The rest of the table is still worth having.
            (Err(_), None) => return Ok(None),
            (Err(why), Some(_)) => return Err(why),
        };
        let fit = match want {
            Some(want) => Some(nomad::fit(&nomad, want).await?),
            None => None,
        };
        let mut more = 0;
        for mut client in clients {
            client.fits = fit.as_ref().map(|fit| client.room_for(fit));
            more += client.fits.unwrap_or_default();
            if let Some(node) = nodes.iter_mut().find(|node| node.node.as_str() == client.name) {
                node.nomad = Some(client);
            }
        }
        Ok(fit.map(|fit| Fit { more, ..fit }))
    }
}

/// Measures a node; returns its row, its sample, and the channel if it still works.
async fn one(
    supervisor: &Supervisor,
    agent: Option<&Agent>,
    before: Option<&Sample>,
    node: &NodeStatus,
) -> (NodeUsage, Sample, Option<Agent>) {
    let before = before.cloned().unwrap_or_default();
    let (mut sample, mut row) = (Sample::default(), empty(node));
    if let Some(pid) = node.pid {
        sample.host = host::seconds(pid).map(|seconds| (Instant::now(), seconds));
        row.host_memory_mib = host::memory_mib(pid);
        if let (Some((then, less)), Some((now, more))) = (before.host, sample.host) {
            let passed = now.duration_since(then).as_secs_f64();
            // A machine that was started anew begins at zero.
            row.host_cpu_percent = (passed > 0.0 && more >= less).then(|| (more - less) / passed * 100.0);
        }
    }
    if node.state != NodeState::Running {
        return (row, sample, None);
    }
    let asked = async {
        let agent = match agent {
            Some(agent) => agent.clone(),
            None => supervisor.agent(&node.name).await?,
        };
        let read = guest::read(&agent).await?;
        Ok::<_, Failure>((agent, read))
    };
    let Ok(Ok((agent, read))) = timeout(ANSWER, asked).await else { return (row, sample, None) };
    row.cpu_percent = before.guest.zip(read.times).and_then(|(before, now)| now.busy_since(before));
    (row.memory_used_mib, row.memory_mib) = (read.used_mib, read.total_mib);
    sample.guest = read.times;
    (row, sample, Some(agent))
}

fn empty(node: &NodeStatus) -> NodeUsage {
    NodeUsage {
        node: node.name.clone(),
        state: node.state.word(),
        cpus: node.cpus,
        cpu_percent: None,
        memory_used_mib: None,
        memory_mib: None,
        host_cpu_percent: None,
        host_memory_mib: None,
        nomad: None,
    }
}

/// A value of /proc/meminfo, or of a process's files of the same form, in KiB (proc(5)).
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
