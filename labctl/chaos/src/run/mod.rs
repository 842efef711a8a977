//! Runs a scenario from the first probe to the verdict.
//!
//! ```text
//! check names ▶ probes start ▶ steady before ▶ method ▶ heal ▶ recovery ▶ report
//!      │                           │              │                │
//!      ▼                           ▼              ▼                ▼
//!   aborted                not steady before   no effect,       failed, no effect
//!                                              aborted
//! ```
//!
//! One task owns all state ([`Run`]); probes and watchers of units only send to it.

mod method;
mod steady;

use std::sync::Arc;

use labctl_spec::scenario::Scenario;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::event::{Event, What};
use crate::fault::units::Sighting;
use crate::fault::{Groups, Injected, Scene, registry};
use crate::ids::unix_ms;
use crate::lease::{Journal, OpenLease};
use crate::observe::Observer;
use crate::options::Options;
use crate::probe::{self, Sample};
use crate::report::{Before, REPORT_VERSION, Recovery, Report};
use crate::target::{FaultError, Mishap, Target};
use crate::verdict::Verdict;

/// Runs the scenario and reports. `groups` gives each group's nodes and must hold every node at least once (a group `all` does).
///
/// Must be called within a tokio runtime: probes are separate tasks.
///
/// Never fails: whatever goes wrong is in the report's verdict. When this returns, faults that need healing are healed. Those that could
/// not be are listed in the report and stay in the journal for [`heal`](crate::heal).
///
/// Dropping the future cancels the run: probes stop, and open leases (a held network, stopped processes) are undone by tasks spawned on the
/// current runtime. If the runtime is gone as well, the switch releases the network at its own limit, and the journal keeps the rest for
/// the next supervisor.
pub async fn run(
    scenario: &Scenario,
    groups: &Groups,
    target: Arc<dyn Target>,
    journal: Arc<dyn Journal>,
    options: &Options,
    events: impl Fn(Event) + Send + Sync,
) -> Report {
    let (send, inbox) = unbounded_channel();
    let start = Instant::now();
    let names = scenario.steady_state.iter().map(|probe| probe.name.clone());
    let mut run = Run {
        scene: Scene { scenario: &scenario.name, groups, target: &target, journal: &journal, options, start },
        scenario,
        events,
        tasks: JoinSet::new(),
        send,
        inbox,
        observer: Observer::new(start, names),
        faults: Vec::new(),
        in_force: Vec::new(),
        timeline: Vec::new(),
        before: Before::default(),
        recovery: None,
        mishaps: Vec::new(),
        last_shot: None,
        last_end: None,
        announced: None,
    };
    let started_unix_ms = unix_ms();
    run.tell(What::Started { scenario: scenario.name.clone(), seed: options.seed });
    let outcome = run.carry_out().await;
    let outcome = run.in_spite_of_mishaps(outcome);
    run.report(outcome, started_unix_ms)
}

/// What probes and watchers send. The channel is unbounded: each sender pauses between messages anyway, and a probe that had to wait for a
/// slow reader would miss what it is meant to observe.
enum Message {
    Sample(Sample),
    Sighting(Sighting),
    Mishap(Mishap),
}

impl From<Sample> for Message {
    fn from(sample: Sample) -> Self {
        Self::Sample(sample)
    }
}

impl From<Sighting> for Message {
    fn from(sighting: Sighting) -> Self {
        Self::Sighting(sighting)
    }
}

/// How a run ended, and why.
struct Outcome {
    verdict: Verdict,
    reason: Option<String>,
    hint: Option<String>,
}

impl Outcome {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: Some(reason.into()), hint: None }
    }
}

impl From<FaultError> for Outcome {
    fn from(error: FaultError) -> Self {
        Self { verdict: Verdict::Aborted, reason: Some(error.message), hint: error.hint }
    }
}

/// A fault that still has to be undone.
struct InForce {
    /// Its index in the list of faults.
    fault: usize,
    lease: OpenLease,
}

struct Run<'a, F> {
    scene: Scene<'a>,
    scenario: &'a Scenario,
    events: F,
    /// Probes and watchers; they stop when this is dropped.
    tasks: JoinSet<()>,
    send: UnboundedSender<Message>,
    inbox: UnboundedReceiver<Message>,
    observer: Observer,
    faults: Vec<Box<dyn Injected>>,
    in_force: Vec<InForce>,
    timeline: Vec<Event>,
    before: Before,
    recovery: Option<Recovery>,
    /// What happened to nodes, as reported.
    mishaps: Vec<String>,
    last_shot: Option<Instant>,
    /// When the last shot was confirmed or the last fault undone. The allowed time to recover starts here.
    last_end: Option<Instant>,
    /// The last recovery that was reported.
    announced: Option<Instant>,
}

impl<F: Fn(Event) + Send + Sync> Run<'_, F> {
    async fn carry_out(&mut self) -> Outcome {
        if let Err(error) = self.check_names() {
            return error.into();
        }
        self.start_probes();
        self.watch_for_mishaps();
        if let Some(outcome) = self.wait_until_steady().await {
            return outcome;
        }
        self.observer.record();
        let method = self.carry_out_method().await;
        let healed = self.heal(|_| true).await;
        if let Err(outcome) = method.and(healed) {
            return outcome;
        }
        self.wait_until_recovered().await
    }

    /// No fault makes a kernel panic. A run in which a kernel panicked has not shown what the scenario is meant to show, whatever the
    /// outcome.
    fn in_spite_of_mishaps(&mut self, outcome: Outcome) -> Outcome {
        // Messages that arrived while nothing was listening.
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
        if self.mishaps.is_empty() {
            return outcome;
        }
        let reasons: Vec<String> = self.mishaps.iter().cloned().chain(outcome.reason).collect();
        let hint = "no fault causes a kernel panic; `labctl logs NODE --console` shows what the kernel printed".to_owned();
        Outcome { verdict: Verdict::Failed, reason: Some(reasons.join("; ")), hint: Some(hint) }
    }

    /// Checks everything that can be checked before anything starts.
    fn check_names(&self) -> Result<(), FaultError> {
        if self.scenario.steady_state.is_empty() {
            return Err(FaultError::new("the scenario has no steady state to return to").hint("add a probe to `steady_state`"));
        }
        let nodes = self.scenario.steady_state.iter().map(|probe| probe::node(&probe.check));
        for node in nodes {
            if !self.scene.groups.values().flatten().any(|known| known == node) {
                return Err(FaultError::new(format!("a probe asks `{node}`, which is not a node of the lab"))
                    .hint("`labctl status` lists the nodes"));
            }
        }
        for step in &self.scenario.method {
            if let Some(fault) = registry::fault(step) {
                fault.check(self.scene.groups)?;
            }
        }
        Ok(())
    }

    fn start_probes(&mut self) {
        let options = self.scene.options;
        for (index, probe) in self.scenario.steady_state.iter().enumerate() {
            let (check, target, send) = (probe.check.clone(), self.scene.target.clone(), self.send.clone());
            self.tasks.spawn(probe::repeat(index, check, target, options.interval, options.probe_limit, send));
        }
    }

    fn watch_for_mishaps(&mut self) {
        let (target, send) = (self.scene.target.clone(), self.send.clone());
        self.tasks.spawn(async move {
            // Until the receiver is gone or the task is aborted.
            while send.send(Message::Mishap(target.mishap().await)).is_ok() {}
        });
    }

    /// Takes the next message, or returns at the deadline if that comes first. A deadline that has already passed is ignored.
    async fn listen(&mut self, deadline: Instant) {
        let over = deadline <= Instant::now();
        tokio::select! {
            biased;
            // Never none: `self` holds a sender.
            Some(message) = self.inbox.recv() => self.take(message),
            () = sleep_until(deadline), if !over => {}
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Sample(sample) => {
                let (index, answer) = (sample.probe, sample.answer.clone());
                if self.observer.take(sample) {
                    let probe = self.scenario.steady_state[index].name.clone();
                    self.tell(What::Probe { probe, holds: answer.holds, answer: answer.words });
                }
            }
            Message::Sighting(sighting) => {
                let what = self.faults.get_mut(sighting.fault).and_then(|fault| fault.see(sighting));
                what.into_iter().for_each(|what| self.tell(what));
                self.move_barrier();
            }
            Message::Mishap(Mishap { node, what }) => {
                self.mishaps.push(format!("{node}: {what}"));
                self.tell(What::Mishap { node, what });
            }
        }
        let recovered = self.observer.settled(self.scene.options.settle);
        if let Some((since, shot)) = recovered.zip(self.last_shot)
            && self.announced != Some(since)
        {
            self.announced = Some(since);
            self.tell(What::Recovered { after_ms: (since - shot).as_millis() as u64 });
        }
    }

    /// The steady state counts only after the last fault, once everything that was taken down is back and no fault is in effect.
    fn move_barrier(&mut self) {
        let from = self.last_end.unwrap_or(self.scene.start);
        let restored = self.faults.iter().try_fold(from, |latest, fault| Some(latest.max(fault.restored(from)?)));
        let barrier = restored.filter(|_| self.in_force.is_empty());
        self.observer.set_barrier(barrier);
    }

    fn tell(&mut self, what: What) {
        let event = Event { at_ms: self.since_start(Instant::now()), what };
        self.timeline.push(event.clone());
        (self.events)(event);
    }

    fn since_start(&self, at: Instant) -> u64 {
        (at - self.scene.start).as_millis() as u64
    }

    fn report(mut self, outcome: Outcome, started_unix_ms: u64) -> Report {
        self.tell(What::Finished { verdict: outcome.verdict });
        let options = self.scene.options;
        let command = match options.command.as_str() {
            "" => format!("labctl scenario run {}", self.scenario.name),
            command => command.to_owned(),
        };
        let now = Instant::now();
        Report {
            version: REPORT_VERSION,
            scenario: self.scenario.name.clone(),
            description: self.scenario.description.clone(),
            seed: options.seed,
            started_unix_ms,
            elapsed_ms: self.since_start(now),
            verdict: outcome.verdict,
            reason: outcome.reason,
            hint: outcome.hint,
            before: self.before,
            faults: self.faults.iter().map(|fault| fault.report()).collect(),
            recovery: self.recovery,
            probes: self.observer.reports(now),
            timeline: self.timeline,
            repeat: format!("{command} --seed {}", options.seed),
        }
    }
}

#[cfg(test)]
mod tests;
