//! The lab as the chaos engine sees it: agents, the switch, TCP into the lab's network.

use std::collections::HashMap;
use std::time::Duration;

use labctl_chaos::{Armed, BoxFuture, Death, ExecAnswer, FaultError, FaultTarget, Held, HttpAnswer, Mishap, UnitState};
use labctl_guest::{Agent, LinkState};
use labctl_spec::ident::NodeName;
use labctl_spec::scenario::Signal;
use labctl_wire::{Exec, Reply, Request};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::http;
use crate::client::{Connection, Hold, Supervisor};
use crate::control::{Answer, Stamped};
use crate::event::{Event, Trouble};
use crate::{Failure, supervisor};

/// Most bytes of a command's output that a probe looks at.
const OUTPUT: usize = 1 << 20;

/// A lab that can be broken and asked.
pub struct LabTarget {
    supervisor: Supervisor,
    agents: Mutex<HashMap<String, Agent>>,
    hold: Mutex<Option<Hold>>,
    /// Tells what happens in the lab, once somebody has asked for it, and since when that counts.
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

fn unfit(node: &str, reply: &Reply) -> FaultError {
    FaultError::new(format!("{node}: an answer that does not fit: {reply:?}"))
}

fn late(node: &str, limit: Duration) -> FaultError {
    FaultError::new(format!("{node}: no answer within {limit:?}"))
}

/// The signal's number on Linux (signal(7)), which is what guests run.
fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Sigkill => 9,
        Signal::Sigterm => 15,
        Signal::Sigstop => 19,
        Signal::Sigcont => 18,
    }
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

    /// The next mishap; none if nobody tells any more.
    async fn next_mishap(&self) -> Option<Mishap> {
        let mut watch = self.watch.lock().await;
        if watch.is_none() {
            *watch = Some((self.supervisor.watch().await.ok()?, supervisor::now_ns() / 1_000_000));
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

    async fn ask(&self, node: &str, request: Request) -> Result<Reply, FaultError> {
        let agent = self.agent(node).await?;
        agent.ask(request).await.map_err(|why| failed(node)(why.into()))
    }

    async fn dial(&self, node: &str, port: u16) -> Result<UnixStream, FaultError> {
        // The supervisor's message names the node already.
        self.supervisor.dial(&Self::name(node)?, port).await.map_err(|why| FaultError { message: why.message, hint: why.hint })
    }
}

impl FaultTarget for LabTarget {
    fn units<'a>(&'a self, node: &'a str, units: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>> {
        Box::pin(async move {
            let state = |state: labctl_wire::UnitState| UnitState {
                unit: state.unit,
                active: state.active,
                sub: state.sub,
                main_pid: state.main_pid,
                restarts: state.restarts,
            };
            match self.ask(node, Request::Units { units: units.to_vec() }).await? {
                Reply::Units(states) => Ok(states.into_iter().map(state).collect()),
                other => Err(unfit(node, &other)),
            }
        })
    }

    fn arm<'a>(&'a self, node: &'a str, shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<Armed>, FaultError>> {
        Box::pin(async move {
            match self.ask(node, Request::Arm { shot, units: units.to_vec() }).await? {
                Reply::Armed(armed) => Ok(armed.into_iter().map(|one| Armed { unit: one.unit, pid: one.pid }).collect()),
                other => Err(unfit(node, &other)),
            }
        })
    }

    fn fire<'a>(&'a self, node: &'a str, shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>> {
        Box::pin(async move {
            let death = |death: labctl_wire::Death| Death {
                unit: death.unit,
                pid: death.pid,
                sent_ns: death.sent_ns,
                dead_ns: death.dead_ns,
                error: death.error,
            };
            match self.ask(node, Request::Fire { shot, signal: number(signal) }).await? {
                Reply::Fired(deaths) => Ok(deaths.into_iter().map(death).collect()),
                other => Err(unfit(node, &other)),
            }
        })
    }

    fn hold_network(&self, limit: Duration) -> BoxFuture<'_, Result<(), FaultError>> {
        Box::pin(async move {
            let held = self.supervisor.hold(limit).await.map_err(failed("the switch"))?;
            *self.hold.lock().await = Some(held);
            Ok(())
        })
    }

    fn release_network(&self) -> BoxFuture<'_, Result<Held, FaultError>> {
        Box::pin(async move {
            let Some(hold) = self.hold.lock().await.take() else { return Ok(Held::default()) };
            let held = hold.release().await.map_err(failed("the switch"))?;
            Ok(Held { frames: held.frames, bytes: held.bytes, dropped: held.dropped, duration: Duration::from_micros(held.duration_us) })
        })
    }

    fn http<'a>(&'a self, node: &'a str, port: u16, path: &'a str, limit: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>> {
        Box::pin(async move {
            let asked = async {
                let stream = self.dial(node, port).await?;
                http::get(stream, &format!("{node}:{port}"), path)
                    .await
                    .map_err(|why| FaultError::new(format!("{node}:{port}{path}: {why}")))
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

    fn mishap(&self) -> BoxFuture<'_, Mishap> {
        Box::pin(async move {
            match self.next_mishap().await {
                Some(mishap) => mishap,
                None => std::future::pending().await,
            }
        })
    }
}

/// A kernel that has given up. An oops costs a process, which the probes notice if it matters.
fn mishap(happened: Stamped) -> Option<Mishap> {
    match happened.event {
        Event::Kernel { node, trouble: Trouble::Panic, line } => {
            Some(Mishap { node: node.to_string(), what: format!("its kernel has panicked: {line}") })
        }
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
        assert_eq!(mishap(Stamped { at_unix_ms: 1, event: Event::Note { text: "x".into() } }), None);
    }
}
