//! A lab that runs in virtual time, for tests: units that die and come back as the test specifies, and a log of
//! actions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use labctl_spec::network::{EdgeCounters, HeldFrames};
use labctl_spec::scenario::Signal;
use labctl_wire::{ArmedProcess, Death, UnitState};
use tokio::time::{Instant, sleep};

use crate::impaired::ImpairedEdges;
use crate::lease::{Journal, Lease};
use crate::target::{BoxFuture, ExecAnswer, FaultError, FaultTarget, HttpAnswer, Mishap, ProbeTarget};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A unit and how it reacts to signals.
#[derive(Clone)]
pub(crate) struct FakeUnit {
    pub pid: i32,
    /// Delay from its death until it comes back; never if `None`.
    pub comes_back_after: Option<Duration>,
    /// Delay after coming back until it dies again by itself.
    pub crashes_after: Option<Duration>,
    /// Whether SIGKILL kills it.
    pub dies: bool,
    /// Whether SIGTERM kills it.
    pub obeys: bool,
    /// Its death is reported but its pid stays, as with an agent that reports it wrongly.
    pub keeps_pid: bool,
    /// Whether SIGSTOP stops it.
    pub stops: bool,
    pub stopped: bool,
    died: Option<Instant>,
    back: Option<Instant>,
    restarts: u32,
}

impl Default for FakeUnit {
    fn default() -> Self {
        Self {
            pid: 100,
            comes_back_after: Some(ms(1000)),
            crashes_after: None,
            dies: true,
            obeys: true,
            keeps_pid: false,
            stops: true,
            stopped: false,
            died: None,
            back: None,
            restarts: 0,
        }
    }
}

impl FakeUnit {
    /// Updates it to the current time.
    fn settle(&mut self) {
        self.come_back();
        if let (Some(back), Some(after)) = (self.back, self.crashes_after)
            && self.died.is_none()
            && Instant::now() >= back + after
        {
            self.crashes_after = None;
            self.died = Some(back + after);
            self.come_back();
        }
    }

    fn come_back(&mut self) {
        let (Some(died), Some(after)) = (self.died, self.comes_back_after) else {
            return;
        };
        if Instant::now() >= died + after {
            self.pid += 1000;
            self.restarts += 1;
            self.stopped = false;
            self.died = None;
            self.back = Some(died + after);
        }
    }

    fn up(&self) -> bool {
        self.died.is_none() && self.pid != 0 && !self.stopped
    }
}

/// How the HTTP service of every node behaves.
#[derive(Clone)]
pub(crate) enum Service {
    /// Responds once all units of the lab have been up for this long.
    AfterUnits(Duration),
    /// Always responds, so that nothing is noticed.
    Blind,
    /// Like `AfterUnits(0)`, but fails in every second period of the first length, until the second length after the
    /// units came back.
    Flaps(Duration, Duration),
    /// Never responds with 200.
    Broken,
}

pub(crate) struct FakeLab {
    state: Mutex<State>,
}

struct State {
    units: BTreeMap<(String, String), FakeUnit>,
    service: Service,
    deeds: Vec<String>,
    held: Option<Instant>,
    /// Calls that fail, by the beginning of their action, and how often.
    fails: Vec<(String, u32)>,
    /// How long `fire` takes on a node; 10 ms by default.
    slow: BTreeMap<String, Duration>,
    /// Mishaps of nodes, and when they happen.
    mishaps: Vec<(Instant, Mishap)>,
    impaired: BTreeMap<String, ImpairedEdges>,
    /// No frames are sent.
    quiet: bool,
}

impl FakeLab {
    /// A lab in which each node has each unit; pids count from 100.
    pub(crate) fn new(nodes: &[&str], units: &[&str]) -> Arc<Self> {
        let pairs = nodes.iter().flat_map(|node| units.iter().map(move |unit| (node, unit)));
        let units = pairs.enumerate().map(|(i, (node, unit))| {
            let pid = 100 + i as i32;
            (((*node).to_owned(), (*unit).to_owned()), FakeUnit { pid, ..FakeUnit::default() })
        });
        Arc::new(Self {
            state: Mutex::new(State {
                units: units.collect(),
                service: Service::AfterUnits(ms(0)),
                deeds: Vec::new(),
                held: None,
                fails: Vec::new(),
                slow: BTreeMap::new(),
                mishaps: Vec::new(),
                impaired: BTreeMap::new(),
                quiet: false,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The impairments that are in effect.
    pub(crate) fn impairments(&self) -> Vec<ImpairedEdges> {
        self.state().impaired.values().cloned().collect()
    }

    /// Nothing sends frames from now on.
    pub(crate) fn be_quiet(&self) {
        self.state().quiet = true;
    }

    pub(crate) fn serve(&self, service: Service) {
        self.state().service = service;
    }

    pub(crate) fn change(&self, node: &str, unit: &str, change: impl FnOnce(&mut FakeUnit)) {
        let mut state = self.state();
        change(state.units.get_mut(&(node.to_owned(), unit.to_owned())).unwrap());
    }

    pub(crate) fn is_stopped(&self, node: &str, unit: &str) -> bool {
        self.state().units[&(node.to_owned(), unit.to_owned())].stopped
    }

    /// Makes the next `times` actions that start with `deed` fail.
    pub(crate) fn fail(&self, deed: &str, times: u32) {
        self.state().fails.push((deed.to_owned(), times));
    }

    pub(crate) fn slow(&self, node: &str, duration: Duration) {
        self.state().slow.insert(node.to_owned(), duration);
    }

    /// Makes the node's kernel panic after this delay.
    pub(crate) fn panics(&self, node: &str, after: Duration) {
        let mishap = Mishap { node: node.to_owned(), what: "its kernel has panicked".to_owned() };
        self.state().mishaps.push((Instant::now() + after, mishap));
    }

    pub(crate) fn held(&self) -> bool {
        self.state().held.is_some()
    }

    /// The actions in order: `arm NODE`, `hold`, `fire NODE SIGNAL`, `release`, and the journal's `record`, `healed`.
    pub(crate) fn deeds(&self) -> Vec<String> {
        self.state().deeds.clone()
    }

    fn deed(&self, deed: String) -> Result<(), FaultError> {
        let mut state = self.state();
        let fails = state.fails.iter_mut().find(|(start, n)| *n > 0 && deed.starts_with(start));
        let failed = fails.map(|(_, n)| *n -= 1).is_some();
        let text = if failed { format!("{deed} (failed)") } else { deed.clone() };
        state.deeds.push(text);
        match failed {
            true => Err(FaultError::new(format!("{deed}: refused by the test"))),
            false => Ok(()),
        }
    }

    fn serves(&self) -> bool {
        let mut state = self.state();
        state.units.values_mut().for_each(FakeUnit::settle);
        let up = state.units.values().all(FakeUnit::up);
        let back = state.units.values().filter_map(|unit| unit.back).max();
        match state.service {
            Service::Blind => true,
            Service::Broken => false,
            Service::AfterUnits(after) => up && back.is_none_or(|at| at.elapsed() >= after),
            Service::Flaps(period, until) => {
                let Some(back) = back else { return up };
                let past = back.elapsed();
                up && (past >= until || (past.as_millis() / period.as_millis()).is_multiple_of(2))
            }
        }
    }
}

impl FaultTarget for FakeLab {
    fn arm<'a>(&'a self, node: &'a str, _shot: u64, units: &'a [String]) -> BoxFuture<'a, Result<Vec<ArmedProcess>, FaultError>> {
        Box::pin(async move {
            sleep(ms(5)).await;
            self.deed(format!("arm {node}"))?;
            let mut state = self.state();
            let pid = |unit: &String| {
                let pid = match state.units.get_mut(&(node.to_owned(), unit.clone())) {
                    Some(fake) => {
                        fake.settle();
                        if fake.died.is_some() { 0 } else { fake.pid }
                    }
                    None => 0,
                };
                ArmedProcess { unit: unit.clone(), pid }
            };
            Ok(units.iter().map(pid).collect())
        })
    }

    fn fire<'a>(&'a self, node: &'a str, _shot: u64, signal: Signal) -> BoxFuture<'a, Result<Vec<Death>, FaultError>> {
        Box::pin(async move {
            self.deed(format!("fire {node} {signal:?}"))?;
            let slow = self.state().slow.get(node).copied();
            sleep(slow.unwrap_or(ms(10))).await;
            let mut deaths = Vec::new();
            let mut state = self.state();
            for ((_, unit), fake) in state.units.iter_mut().filter(|((n, _), _)| n == node) {
                fake.settle();
                let dies = match signal {
                    Signal::Sigkill => fake.dies,
                    Signal::Sigterm => fake.obeys,
                    Signal::Sigstop | Signal::Sigcont => false,
                };
                match signal {
                    Signal::Sigstop => fake.stopped = fake.stops,
                    Signal::Sigcont => fake.stopped = false,
                    _ => {}
                }
                deaths.push(Death {
                    unit: unit.clone(),
                    pid: fake.pid,
                    sent_ns: 5_000_000_000,
                    dead_ns: (dies && signal == Signal::Sigkill).then_some(5_000_800_000),
                    error: None,
                });
                if dies && !fake.keeps_pid {
                    fake.died = Some(Instant::now());
                }
            }
            Ok(deaths)
        })
    }

    fn hold_network(&self, _limit: Duration) -> BoxFuture<'_, Result<(), FaultError>> {
        Box::pin(async move {
            self.deed("hold".into())?;
            self.state().held = Some(Instant::now());
            Ok(())
        })
    }

    fn release_network(&self) -> BoxFuture<'_, Result<HeldFrames, FaultError>> {
        Box::pin(async move {
            self.deed("release".into())?;
            let since = self.state().held.take();
            Ok(since.map_or_else(HeldFrames::default, |since| HeldFrames {
                frames: 12,
                bytes: 1200,
                dropped: 0,
                duration_ms: since.elapsed().as_secs_f64() * 1e3,
            }))
        })
    }

    fn impair<'a>(&'a self, edges: &'a ImpairedEdges) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            self.deed(format!("impair {} edges", edges.edges.len()))?;
            self.state().impaired.insert(edges.id.clone(), edges.clone());
            Ok(())
        })
    }

    fn mend<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            self.deed("mend".into())?;
            self.state().impaired.remove(id);
            Ok(())
        })
    }
}

impl ProbeTarget for FakeLab {
    fn units<'a>(&'a self, node: &'a str, units: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>> {
        Box::pin(async move {
            sleep(ms(2)).await;
            let mut state = self.state();
            let look = |unit: &String| {
                let Some(fake) = state.units.get_mut(&(node.to_owned(), unit.clone())) else {
                    return unit_state(unit, "inactive", "dead", 0, 0);
                };
                fake.settle();
                match fake.died {
                    None if fake.pid == 0 => unit_state(unit, "inactive", "dead", 0, fake.restarts),
                    None => unit_state(unit, "active", "running", fake.pid, fake.restarts),
                    Some(_) if fake.comes_back_after.is_some() => unit_state(unit, "activating", "auto-restart", 0, fake.restarts),
                    Some(_) => unit_state(unit, "failed", "failed", 0, fake.restarts),
                }
            };
            Ok(units.iter().map(look).collect())
        })
    }

    fn http<'a>(&'a self, node: &'a str, port: u16, _path: &'a str, _timeout: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>> {
        Box::pin(async move {
            sleep(ms(3)).await;
            if self.serves() {
                Ok(HttpAnswer { status: 200, body: b"fine".to_vec() })
            } else {
                Err(FaultError::new(format!("{node}:{port} refuses the connection")))
            }
        })
    }

    fn tcp<'a>(&'a self, _node: &'a str, _port: u16, _timeout: Duration) -> BoxFuture<'a, Result<(), FaultError>> {
        // Never answers, to test the limit.
        Box::pin(std::future::pending())
    }

    fn exec<'a>(&'a self, node: &'a str, argv: &'a [String], _timeout: Duration) -> BoxFuture<'a, Result<ExecAnswer, FaultError>> {
        Box::pin(async move {
            sleep(ms(4)).await;
            let pid = argv[1].strip_prefix("/proc/").and_then(|rest| rest.strip_suffix("/stat"));
            let state = self.state();
            let unit = state.units.iter().find(|((n, _), unit)| n == node && pid == Some(unit.pid.to_string().as_str()));
            Ok(match unit {
                Some((_, unit)) => ExecAnswer {
                    stdout: format!("{} (x) {} 1", unit.pid, if unit.stopped { 'T' } else { 'S' }).into(),
                    ..ExecAnswer::default()
                },
                None => ExecAnswer { code: 1, ..ExecAnswer::default() },
            })
        })
    }

    fn impaired<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<EdgeCounters, FaultError>> {
        Box::pin(async move {
            let state = self.state();
            let edges = state.impaired.get(id).ok_or_else(|| FaultError::new("nothing is impaired"))?;
            let frames = if state.quiet { 0 } else { 10 * edges.edges.len() as u64 };
            let dropped = if edges.impairment.cut || edges.impairment.loss > 0.0 { frames } else { 0 };
            Ok(EdgeCounters { matched: frames, dropped, delayed: frames - dropped, ..EdgeCounters::default() })
        })
    }

    fn mishap(&self) -> BoxFuture<'_, Mishap> {
        Box::pin(async move {
            let next = self.state().mishaps.pop();
            let Some((at, mishap)) = next else { return std::future::pending().await };
            tokio::time::sleep_until(at).await;
            mishap
        })
    }
}

fn unit_state(unit: &str, active: &str, sub: &str, main_pid: i32, restarts: u32) -> UnitState {
    UnitState { unit: unit.to_owned(), active: active.to_owned(), sub: sub.to_owned(), main_pid, restarts }
}

/// A journal in memory that logs into the lab's list of actions.
pub(crate) struct FakeJournal {
    pub lab: Arc<FakeLab>,
    pub leases: Mutex<Vec<Lease>>,
}

impl FakeJournal {
    pub(crate) fn new(lab: &Arc<FakeLab>) -> Arc<Self> {
        Arc::new(Self { lab: lab.clone(), leases: Mutex::default() })
    }
}

impl Journal for FakeJournal {
    fn record(&self, lease: &Lease) -> Result<(), FaultError> {
        self.lab.deed(format!("record {}", lease.what))?;
        self.leases.lock().unwrap().push(lease.clone());
        Ok(())
    }

    fn healed(&self, id: &str) -> Result<(), FaultError> {
        let mut leases = self.leases.lock().unwrap();
        if let Some(place) = leases.iter().position(|lease| lease.id == id) {
            self.lab.deed(format!("healed {}", leases[place].what))?;
            leases.remove(place);
        }
        Ok(())
    }

    fn open(&self) -> Result<Vec<Lease>, FaultError> {
        Ok(self.leases.lock().unwrap().clone())
    }
}
