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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use labctl_spec::scenario::{Scenario, Step};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::event::{Event, What};
use crate::fault::{
    Comebacks, Fate, Fired, KillReport, Scene, Sighting, TargetReport, kill, text, watch,
};
use crate::lease::{Journal, OpenLease, unix_ms};
use crate::observe::{Observer, Sample};
use crate::options::Options;
use crate::report::{Before, REPORT_VERSION, Recovery, Report, Verdict};
use crate::target::{FaultError, FaultTarget};
use crate::{pick, probe};

/// How often undoing a fault is tried before it is left to the journal, and the pause between.
const HEAL_TRIES: u32 = 3;
const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// Runs the scenario and reports. `groups` gives each group's nodes and must hold every node at least once (a group `all` does).
///
/// Never fails: whatever goes wrong is the report's verdict. Faults that need it are healed when this returns, except those that
/// the report says could not be; these stay in the journal for [`heal`](crate::heal).
///
/// Dropping the future cancels the run: probes stop, and open leases (a held network, stopped processes) are undone by tasks
/// spawned on the current runtime. If the runtime goes away as well, the switch releases the network by its own limit, and the
/// journal keeps the rest for the next supervisor.
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
        scene: Scene {
            scenario: &scenario.name,
            groups,
            target: &target,
            journal: &journal,
            options,
            start,
        },
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
        last_shot: None,
        last_end: None,
        announced: None,
    };
    let started_unix_ms = unix_ms();
    run.tell(What::Started {
        scenario: scenario.name.clone(),
        seed: options.seed,
    });
    let outcome = run.carry_out().await;
    run.report(outcome, started_unix_ms)
}

/// What probes and watchers send. The channel has no bound: each sender pauses between two messages by itself, and a probe
/// that had to wait for a slow reader would miss what it is there to see.
enum Message {
    Sample(Sample),
    Sighting(Sighting),
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
        Self {
            verdict,
            reason: Some(reason.into()),
            hint: None,
        }
    }
}

impl From<FaultError> for Outcome {
    fn from(error: FaultError) -> Self {
        Self {
            verdict: Verdict::Aborted,
            reason: Some(error.message),
            hint: error.hint,
        }
    }
}

struct Run<'a, F> {
    scene: Scene<'a>,
    scenario: &'a Scenario,
    events: F,
    /// Probes and watchers; they end with this.
    tasks: JoinSet<()>,
    send: UnboundedSender<Message>,
    inbox: UnboundedReceiver<Message>,
    observer: Observer,
    comebacks: Comebacks,
    faults: Vec<KillReport>,
    /// What is stopped at the moment.
    leases: Vec<OpenLease>,
    timeline: Vec<Event>,
    before: Before,
    recovery: Option<Recovery>,
    last_shot: Option<Instant>,
    /// When the last shot was confirmed or the last fault undone: the time to recover is allowed from here.
    last_end: Option<Instant>,
    /// The recovery that was told last.
    announced: Option<Instant>,
}

impl<F: Fn(Event) + Send + Sync> Run<'_, F> {
    async fn carry_out(&mut self) -> Outcome {
        if let Err(error) = self.check_names() {
            return error.into();
        }
        self.start_probes();
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

    /// Everything that can be known to be wrong before anything starts.
    fn check_names(&self) -> Result<(), FaultError> {
        if self.scenario.steady_state.is_empty() {
            return Err(
                FaultError::new("the scenario has no steady state to come back to")
                    .hint("give `steady_state` a probe"),
            );
        }
        let nodes = self
            .scenario
            .steady_state
            .iter()
            .map(|probe| probe::node(&probe.check));
        for node in nodes {
            if !self
                .scene
                .groups
                .values()
                .flatten()
                .any(|known| known == node)
            {
                return Err(FaultError::new(format!(
                    "a probe asks `{node}`, which is not a node of the lab"
                ))
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
            let (check, target, send) = (
                probe.check.clone(),
                self.scene.target.clone(),
                self.send.clone(),
            );
            self.tasks.spawn(probe::repeat(
                index,
                check,
                target,
                options.interval,
                options.probe_limit,
                send,
            ));
        }
    }

    async fn wait_until_steady(&mut self) -> Option<Outcome> {
        let (limit, settle) = (self.scene.options.steady_limit, self.scene.options.settle);
        let deadline = self.scene.start + limit;
        loop {
            if let Some(since) = self.observer.settled(settle) {
                self.before = Before {
                    steady: true,
                    waited_ms: self.since_start(Instant::now()),
                    complaints: Vec::new(),
                };
                let since_ms = self.since_start(since);
                self.tell(What::Steady { since_ms });
                return None;
            }
            let now = Instant::now();
            // What holds at the deadline may still show that it lasts.
            if now >= deadline && self.observer.steady_since().is_none() {
                let complaints = self.observer.complaints();
                self.before = Before {
                    steady: false,
                    waited_ms: self.since_start(now),
                    complaints: complaints.clone(),
                };
                let reason = match complaints.is_empty() {
                    true => {
                        format!("within {limit:?} the probes never held together for {settle:?}")
                    }
                    false => format!("after {limit:?} {}", complaints.join("; ")),
                };
                let mut outcome = Outcome::new(Verdict::NotSteadyBefore, reason);
                outcome.hint = Some(
                    "nothing was broken; see `labctl status` and bring the lab up first".to_owned(),
                );
                return Some(outcome);
            }
            self.listen(deadline).await;
        }
    }

    async fn carry_out_method(&mut self) -> Result<(), Outcome> {
        for (index, step) in self.scenario.method.iter().enumerate() {
            match step {
                Step::Wait(duration) => {
                    self.tell(What::Step {
                        step: index,
                        text: format!("wait {duration}"),
                    });
                    let end = Instant::now() + duration.0;
                    while Instant::now() < end {
                        self.listen(end).await;
                    }
                }
                Step::Kill(step) => {
                    self.tell(What::Step {
                        step: index,
                        text: text(step),
                    });
                    let rest = &self.scenario.method[index + 1..];
                    let remaining = rest.iter().map(|step| match step {
                        Step::Wait(duration) => duration.0,
                        Step::Kill(_) => {
                            self.scene.options.arm_limit + 2 * self.scene.options.fire_limit
                        }
                    });
                    let fired = kill(&self.scene, index, step, remaining.sum()).await?;
                    self.fired(fired)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what a kill step did.
    fn fired(&mut self, fired: Fired) -> Result<(), Outcome> {
        let Fired {
            report,
            shot,
            lease,
        } = fired;
        let fault = self.faults.len();
        if let Some((at, end)) = shot {
            self.last_shot = Some(at);
            self.last_end = Some(end);
            self.observer.shot(at);
            for target in &report.targets {
                let fate = fate(target);
                let (node, unit, pid) = (target.node.clone(), target.unit.clone(), target.old_pid);
                self.tell(What::Shot {
                    step: report.step,
                    node,
                    unit,
                    pid,
                    fate,
                });
            }
            if let Some(held) = report.held {
                let (frames, dropped, held_ms) = (held.frames, held.dropped, held.duration_ms);
                self.tell(What::Released {
                    frames,
                    dropped,
                    held_ms,
                });
            }
            let deadly = report
                .targets
                .iter()
                .all(|t| matches!(t.fate, Fate::Died | Fate::Signalled));
            if deadly {
                self.comebacks.expect(fault, at, &report.targets);
                self.watch(fault, &report);
            }
        }
        self.leases.extend(lease);
        self.move_barrier();
        let no_effect = report
            .no_effect
            .clone()
            .map(|reason| format!("{}: {reason}", report.text));
        if report.signal == "SIGCONT" && no_effect.is_none() {
            self.continued(&report)?;
        }
        self.faults.push(report);
        match no_effect {
            Some(reason) => Err(Outcome::new(Verdict::NoEffect, reason)),
            None => Ok(()),
        }
    }

    /// Settles the leases of processes that a step has continued.
    fn continued(&mut self, report: &KillReport) -> Result<(), FaultError> {
        let hit = |node: &str, unit: &str| {
            report
                .targets
                .iter()
                .any(|t| t.node == node && t.unit == unit)
        };
        for lease in &mut self.leases {
            if lease.covered_by(hit) {
                lease.settled()?;
            }
        }
        self.leases.retain(|lease| lease.lease().is_some());
        self.move_barrier();
        Ok(())
    }

    fn watch(&mut self, fault: usize, report: &KillReport) {
        let options = self.scene.options;
        for node in &report.picked {
            let units = report.targets.iter().filter(|target| target.node == *node);
            let old = units
                .map(|target| (target.unit.clone(), target.old_pid))
                .collect();
            let (target, send) = (self.scene.target.clone(), self.send.clone());
            self.tasks.spawn(watch(
                fault,
                node.clone(),
                old,
                target,
                options.poll,
                options.probe_limit,
                send,
            ));
        }
    }

    /// Undoes what is still to be undone at the method's end.
    async fn heal(&mut self) -> Result<(), Outcome> {
        let mut failed = Ok(());
        for mut lease in std::mem::take(&mut self.leases) {
            let what = lease
                .lease()
                .map(|lease| lease.what.clone())
                .unwrap_or_default();
            let mut tries = 0;
            let result = loop {
                tries += 1;
                match lease.close().await {
                    Err(_) if tries < HEAL_TRIES => tokio::time::sleep(HEAL_PAUSE).await,
                    result => break result,
                }
            };
            self.last_end = Some(Instant::now());
            match result {
                Ok(()) => self.tell(What::Healed { what }),
                Err(error) => {
                    lease.leave();
                    let reason = format!("{what}: could not be undone: {error}");
                    let mut outcome = Outcome::new(Verdict::Aborted, reason);
                    outcome.hint = Some("repeat it with `labctl chaos heal`".to_owned());
                    failed = Err(outcome);
                    self.tell(What::NotHealed {
                        what,
                        error: error.message,
                    });
                }
            }
        }
        self.move_barrier();
        failed
    }

    async fn wait_until_recovered(&mut self) -> Outcome {
        let (allowed, settle) = (self.scenario.recover_within.0, self.scene.options.settle);
        let deadline = self.last_end.unwrap_or_else(Instant::now) + allowed;
        let since = loop {
            if let Some(since) = self.observer.settled(settle) {
                break Some(since);
            }
            // What holds at the deadline may still show that it lasts.
            if Instant::now() >= deadline && self.observer.steady_since().is_none() {
                break None;
            }
            self.listen(deadline).await;
        };
        self.comebacks.conclude(&mut self.faults);
        let mut complaints = self.comebacks.complaints();
        complaints.extend(self.observer.complaints());
        let after = since
            .zip(self.last_shot)
            .map(|(since, shot)| (since - shot).as_secs_f64());
        self.recovery = self.last_shot.map(|_| Recovery {
            seconds: after,
            allowed_seconds: allowed.as_secs_f64(),
            complaints: complaints.clone(),
        });
        if let Some(fault) = self.faults.iter().find(|fault| fault.no_effect.is_some()) {
            let reason = fault.no_effect.as_deref().unwrap_or_default();
            return Outcome::new(Verdict::NoEffect, format!("{}: {reason}", fault.text));
        }
        match since {
            Some(since) if since <= deadline => Outcome {
                verdict: Verdict::Passed,
                reason: None,
                hint: None,
            },
            Some(since) => {
                let late = (since - deadline).as_secs_f64();
                let reason =
                    format!("steady again {late:.1} s later than the {allowed:?} that are allowed");
                Outcome::new(Verdict::Failed, reason)
            }
            None => {
                let why = match complaints.is_empty() {
                    true => format!("the probes never held together for {settle:?}"),
                    false => complaints.join("; "),
                };
                Outcome::new(
                    Verdict::Failed,
                    format!("not steady again within {allowed:?}: {why}"),
                )
            }
        }
    }

    /// Takes the next message, or returns at the deadline if that comes first and is still to come.
    async fn listen(&mut self, deadline: Instant) {
        let over = deadline <= Instant::now();
        tokio::select! {
            biased;
            // Never none: this holds a sender itself.
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
                    self.tell(What::Probe {
                        probe,
                        holds: answer.holds,
                        answer: answer.words,
                    });
                }
            }
            Message::Sighting(sighting) => {
                if let Some(what) = self.comebacks.see(sighting, &mut self.faults) {
                    self.tell(what);
                }
                self.move_barrier();
            }
        }
        let recovered = self.observer.settled(self.scene.options.settle);
        if let Some((since, shot)) = recovered.zip(self.last_shot)
            && self.announced != Some(since)
        {
            self.announced = Some(since);
            self.tell(What::Recovered {
                after_ms: (since - shot).as_millis() as u64,
            });
        }
    }

    /// The steady state counts only behind the last shot, with every killed unit back and nothing stopped.
    fn move_barrier(&mut self) {
        let from = self.last_end.unwrap_or(self.scene.start);
        let barrier = match self.leases.is_empty() {
            true => self.comebacks.all_up(from),
            false => None,
        };
        self.observer.set_barrier(barrier);
    }

    fn tell(&mut self, what: What) {
        let event = Event {
            at_ms: self.since_start(Instant::now()),
            what,
        };
        self.timeline.push(event.clone());
        (self.events)(event);
    }

    fn since_start(&self, at: Instant) -> u64 {
        (at - self.scene.start).as_millis() as u64
    }

    fn report(mut self, outcome: Outcome, started_unix_ms: u64) -> Report {
        self.tell(What::Finished {
            verdict: outcome.verdict,
        });
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

/// What became of a target, in words.
fn fate(target: &TargetReport) -> String {
    let fate = match target.fate {
        Fate::Untouched => "untouched",
        Fate::Signalled => "signalled",
        Fate::Died => "died",
        Fate::Stopped => "stopped",
        Fate::Continued => "continued",
        Fate::Survived => "survived",
    };
    match (&target.error, target.latency_us) {
        (Some(error), _) => format!("{fate}: {error}"),
        (None, Some(latency)) => format!("{fate} after {latency} µs"),
        (None, None) => fate.to_owned(),
    }
}
