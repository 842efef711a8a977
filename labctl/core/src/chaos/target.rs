//! The lab as the chaos engine sees it: agents, the switch, TCP into the lab's network.

use std::collections::HashMap;
use std::time::Duration;

use labctl_chaos::{BoxFuture, ExecAnswer, FaultError, FaultTarget, HttpAnswer, ImpairedEdges, Mishap, ProbeTarget};
use labctl_guest::{Agent, LinkState};
use labctl_lab::Failure;
use labctl_lab::client::{Connection, Hold, Supervisor};
use labctl_lab::control::{Answer, Call, Stamped};
use labctl_lab::event::{Event, NodeState, Trouble};
use labctl_lab::identity::now_ns;
use labctl_spec::ident::NodeName;
use labctl_spec::network::{EdgeCounters, HeldFrames};
use labctl_spec::scenario::Signal;
use labctl_wire::{ArmedProcess, Death, Exec, UnitState};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::http::{self, Ask};

/// How much of a command's output a probe reads at most.
const OUTPUT: usize = 1 << 20;

/// A lab for faults and probes.
pub struct LabTarget {
    supervisor: Supervisor,
    agents: Mutex<HashMap<String, Agent>>,
    hold: Mutex<Option<Hold>>,
    /// Reports what happens in the lab, opened on first use, and the time from which events count.
    watch: Mutex<Option<(Connection, u64)>>,
}

fn failed(node: &str) -> impl Fn(Failure) -> FaultError {
    move |why| {
        let error = FaultError::new(format!("{node}: {why}"));
        match why.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn late(node: &str, limit: Duration) -> FaultError {
    FaultError::new(format!("{node}: no answer within {limit:?}"))
}

impl LabTarget {
    /// The lab of that supervisor.
    pub fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, agents: Mutex::default(), hold: Mutex::default(), watch: Mutex::default() }
    }

    fn name(node: &str) -> Result<NodeName, FaultError> {
        node.parse().map_err(|why: labctl_spec::ident::BadName| FaultError::new(why.to_string()))
    }

    /// The node's agent; one channel per node serves all requests.
    async fn agent(&self, node: &str) -> Result<Agent, FaultError> {
        let mut agents = self.agents.lock().await;
        if let Some(agent) = agents.get(node).filter(|agent| *agent.link().state().borrow() != LinkState::Down) {
            return Ok(agent.clone());
        }
        let agent = self.supervisor.agent(&Self::name(node)?).await.map_err(failed(node))?;
        agents.insert(node.to_owned(), agent.clone());
        Ok(agent)
    }

    /// The next mishap; none if the connection has closed.
    async fn next_mishap(&self) -> Option<Mishap> {
        let mut watch = self.watch.lock().await;
        if watch.is_none() {
            *watch = Some((self.supervisor.watch().await.ok()?, now_ns() / 1_000_000));
        }
        let (connection, since_unix_ms) = watch.as_mut()?;
        loop {
            if let Answer::Watched(stamped) = connection.answer().await.ok()?
                && stamped.at_unix_ms >= *since_unix_ms
                && let Some(mishap) = mishap(stamped)
            {
                return Some(mishap);
            }
        }
    }

    async fn dial(&self, node: &str, port: u16) -> Result<UnixStream, FaultError> {
        // The supervisor's message already names the node.
        self.supervisor.dial(&Self::name(node)?, port).await.map_err(|why| FaultError { message: why.message, hint: why.hint })
    }
}

impl FaultTarget for LabTarget {
    fn arm<'a>(&'a self, node: &'a str, shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<ArmedProcess>, FaultError>> {
        Box::pin(async move { self.agent(node).await?.arm(shot, units.to_vec()).await.map_err(|why| failed(node)(why.into())) })
    }

    fn fire<'a>(&'a self, node: &'a str, shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>> {
        Box::pin(async move { self.agent(node).await?.fire(shot, signal.number()).await.map_err(|why| failed(node)(why.into())) })
    }

    fn hold_network(&self, limit: Duration) -> BoxFuture<'_, Result<(), FaultError>> {
        Box::pin(async move {
            let held = self.supervisor.hold(limit).await.map_err(failed("the switch"))?;
            *self.hold.lock().await = Some(held);
            Ok(())
        })
    }

    fn release_network(&self) -> BoxFuture<'_, Result<HeldFrames, FaultError>> {
        Box::pin(async move {
            let Some(hold) = self.hold.lock().await.take() else { return Ok(HeldFrames::default()) };
            hold.release().await.map_err(failed("the switch"))
        })
    }

    fn impair<'a>(&'a self, edges: &'a ImpairedEdges) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let call = Call::Impair(Box::new(edges.clone()));
            self.supervisor.run(&call, |_| {}).await.map_err(failed("the switch"))
        })
    }

    fn mend<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move { self.supervisor.run(&Call::Mend { id: id.to_owned() }, |_| {}).await.map_err(failed("the switch")) })
    }
}

impl ProbeTarget for LabTarget {
    fn units<'a>(&'a self, node: &'a str, units: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>> {
        Box::pin(async move { self.agent(node).await?.units(units.to_vec()).await.map_err(|why| failed(node)(why.into())) })
    }

    fn http<'a>(&'a self, node: &'a str, port: u16, path: &'a str, limit: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>> {
        Box::pin(async move {
            let asked = async {
                let stream = self.dial(node, port).await?;
                let ask = Ask { path, ..Ask::default() };
                let answer = http::ask(stream, &format!("{node}:{port}"), ask).await;
                let answer = answer.map_err(|why| FaultError::new(format!("{node}:{port}{path}: {why}")))?;
                Ok(HttpAnswer { status: answer.status, body: answer.body })
            };
            timeout(limit, asked).await.map_err(|_| late(node, limit))?
        })
    }

    fn tcp<'a>(&'a self, node: &'a str, port: u16, limit: Duration) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move { timeout(limit, self.dial(node, port)).await.map_err(|_| late(node, limit))?.map(drop) })
    }

    fn exec<'a>(&'a self, node: &'a str, argv: &'a [String], limit: Duration) -> BoxFuture<'a, Result<ExecAnswer, FaultError>> {
        Box::pin(async move {
            let exec = Exec { argv: argv.to_vec(), timeout_ms: u64::try_from(limit.as_millis()).ok(), ..Exec::default() };
            let agent = self.agent(node).await?;
            let output = timeout(limit, agent.output(exec, OUTPUT)).await.map_err(|_| late(node, limit))?;
            let output = output.map_err(|why| failed(node)(why.into()))?;
            Ok(ExecAnswer { code: output.code, stdout: output.stdout, stderr: output.stderr })
        })
    }

    fn impaired<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<EdgeCounters, FaultError>> {
        Box::pin(async move { self.supervisor.impaired(id).await.map_err(failed("the switch")) })
    }

    fn mishap(&self) -> BoxFuture<'_, Mishap> {
        Box::pin(async move {
            match self.next_mishap().await {
                Some(mishap) => mishap,
                None => std::future::pending().await,
            }
        })
    }
}

/// A kernel that has panicked, or a machine that the host's full disk has stopped. An oops kills a process, which the probes notice if it matters.
fn mishap(happened: Stamped) -> Option<Mishap> {
    match happened.event {
        Event::Kernel { node, trouble: Trouble::Panic, line } => {
            Some(Mishap { node: node.to_string(), what: format!("its kernel has panicked: {line}") })
        }
        Event::Node { node, state: NodeState::DiskFull { why } } => Some(Mishap { node: node.to_string(), what: why }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_mishap_and_a_stall_is_none() {
        let node: NodeName = "web1".parse().unwrap();
        let kernel = |trouble| Stamped { at_unix_ms: 1, event: Event::Kernel { node: node.clone(), trouble, line: "LINE".into() } };
        let expected = Mishap { node: "web1".into(), what: "its kernel has panicked: LINE".into() };
        assert_eq!(mishap(kernel(Trouble::Panic)), Some(expected));
        assert_eq!(mishap(kernel(Trouble::Stall)), None);
        let state = NodeState::DiskFull { why: "WHY".into() };
        let full = Stamped { at_unix_ms: 1, event: Event::Node { node: node.clone(), state } };
        assert_eq!(mishap(full), Some(Mishap { node: "web1".into(), what: "WHY".into() }));
        assert_eq!(mishap(Stamped { at_unix_ms: 1, event: Event::Note { text: "x".into() } }), None);
    }
}
