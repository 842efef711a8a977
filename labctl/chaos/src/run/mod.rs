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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use labctl_spec::scenario::{self, Scenario, Step};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::event::{Event, What};
use crate::fault::{Comebacks, KillReport, Scene, Sighting};
use crate::lease::{Journal, OpenLease, unix_ms};
use crate::observe::{Observer, Sample};
use crate::options::Options;
use crate::report::{Before, REPORT_VERSION, Recovery, Report, Verdict};
use crate::target::{FaultError, FaultTarget, Mishap};
use crate::{pick, probe};

/// Runs the scenario and reports. `groups` lists each group's nodes and must contain every node at least once (as the
/// group `all` does).
///
/// Must be called within a tokio runtime, because probes are tasks.
///
/// Never fails: any failure becomes the report's verdict. Faults that need healing are healed when this returns, except
/// those that the report lists as not healed; these stay in the journal for [`heal`](crate::heal).
///
/// Dropping the future cancels the run: probes stop, and open leases (a held network, stopped processes) are undone by
/// tasks spawned on the current runtime. If the runtime goes away too, the switch releases the network after its own
/// limit, and the journal keeps the rest for the next supervisor.
pub async fn run(
    scenario: &Scenario,
    groups: &BTreeMap<String, Vec<String>>,
    target: Arc<dyn FaultTarget>,
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
        comebacks: Comebacks::default(),
        faults: Vec::new(),
        leases: Vec::new(),
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

/// Messages from probes and watchers. The channel is unbounded: each sender pauses between two messages by itself, and
/// a probe that had to wait for a slow reader would miss what it should observe.
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

/// A duration from the file, limited so that it can be added to any instant: a file may specify more than a clock can
/// hold.
fn bounded(duration: scenario::Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    duration.0.min(LONGEST)
}

/// The result of a run, and the reason.
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

struct Run<'a, F> {
    scene: Scene<'a>,
    scenario: &'a Scenario,
    events: F,
    /// Probes and watchers, which are aborted when this is dropped.
    tasks: JoinSet<()>,
    send: UnboundedSender<Message>,
    inbox: UnboundedReceiver<Message>,
    observer: Observer,
    comebacks: Comebacks,
    faults: Vec<KillReport>,
    /// Currently stopped processes.
    leases: Vec<OpenLease>,
    timeline: Vec<Event>,
    before: Before,
    recovery: Option<Recovery>,
    /// Mishaps of nodes, as reported.
    mishaps: Vec<String>,
    last_shot: Option<Instant>,
    /// When the last shot was confirmed or the last fault undone: the recovery time is counted from here.
    last_end: Option<Instant>,
    /// The recovery that was last reported.
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
        let healed = self.heal().await;
        if let Err(outcome) = method.and(healed) {
            return outcome;
        }
        self.wait_until_recovered().await
    }

    /// No fault of a scenario makes a kernel panic. If one did, the scenario's result proves nothing, whatever it was.
    fn in_spite_of_mishaps(&mut self, outcome: Outcome) -> Outcome {
        // Those that arrived while nothing was reading.
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
        if self.mishaps.is_empty() {
            return outcome;
        }
        let reasons: Vec<String> = self.mishaps.iter().cloned().chain(outcome.reason).collect();
        let hint = "no fault of the scenario does that; `labctl logs NODE --console` shows the kernel's messages".to_owned();
        Outcome { verdict: Verdict::Failed, reason: Some(reasons.join("; ")), hint: Some(hint) }
    }

    /// Checks everything that can be checked before starting.
    fn check_names(&self) -> Result<(), FaultError> {
        if self.scenario.steady_state.is_empty() {
            return Err(FaultError::new("the scenario has no steady state to return to").hint("add a probe to `steady_state`"));
        }
        let nodes = self.scenario.steady_state.iter().map(|probe| probe::node(&probe.check));
        for node in nodes {
            if !self.scene.groups.values().flatten().any(|known| known == node) {
                return Err(FaultError::new(format!("a probe queries `{node}`, which is not a node of the lab"))
                    .hint("`labctl status` lists the nodes"));
            }
        }
        for step in &self.scenario.method {
            if let Step::Kill(step) = step {
                pick::resolve(&step.on, self.scene.groups)?;
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
            // Until the receiver is gone, or the task is aborted.
            while send.send(Message::Mishap(target.mishap().await)).is_ok() {}
        });
    }

    /// Handles the next message, or returns at the deadline if that comes first and has not passed yet.
    async fn listen(&mut self, deadline: Instant) {
        let over = deadline <= Instant::now();
        tokio::select! {
            biased;
            // Never `None`, because `self` holds a sender.
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
                if let Some(what) = self.comebacks.see(sighting, &mut self.faults) {
                    self.tell(what);
                }
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

    /// The steady state counts only after the last shot, with every killed unit back and nothing stopped.
    fn move_barrier(&mut self) {
        let from = self.last_end.unwrap_or(self.scene.start);
        let barrier = match self.leases.is_empty() {
            true => self.comebacks.all_up(from),
            false => None,
        };
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
            faults: self.faults,
            recovery: self.recovery,
            probes: self.observer.reports(now),
            timeline: self.timeline,
            repeat: format!("{command} --seed {}", options.seed),
        }
    }
}

#[cfg(test)]
mod tests;
