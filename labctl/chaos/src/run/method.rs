//! Runs the method's steps in order, and undoes them.

use std::time::Duration;

use labctl_spec::scenario::Step;
use tokio::time::Instant;

use super::{Outcome, Run, bounded};
use crate::event::{Event, What};
use crate::fault::{Fate, Fired, KillReport, TargetReport, kill, text, watch};
use crate::report::Verdict;
use crate::target::FaultError;

/// How often undoing a fault is tried before it is left to the journal, and the pause between attempts.
const HEAL_TRIES: u32 = 3;
const HEAL_PAUSE: Duration = Duration::from_secs(1);

impl<F: Fn(Event) + Send + Sync> Run<'_, F> {
    pub(super) async fn carry_out_method(&mut self) -> Result<(), Outcome> {
        for (index, step) in self.scenario.method.iter().enumerate() {
            match step {
                Step::Wait(duration) => {
                    self.tell(What::Step { step: index, text: format!("wait {duration}") });
                    let end = Instant::now() + bounded(*duration);
                    while Instant::now() < end {
                        self.listen(end).await;
                    }
                }
                Step::Kill(step) => {
                    self.tell(What::Step { step: index, text: text(step) });
                    let rest = &self.scenario.method[index + 1..];
                    let options = self.scene.options;
                    let remaining = rest.iter().map(|step| match step {
                        Step::Wait(duration) => bounded(*duration),
                        Step::Kill(_) => options.arm_limit + 2 * options.fire_limit,
                    });
                    let remaining = remaining.fold(Duration::ZERO, Duration::saturating_add);
                    let fired = kill(&self.scene, index, step, remaining).await?;
                    self.fired(fired)?;
                }
            }
        }
        Ok(())
    }

    /// Processes the result of a kill step.
    fn fired(&mut self, fired: Fired) -> Result<(), Outcome> {
        let Fired { report, shot, lease, broken } = fired;
        let fault = self.faults.len();
        if let Some((at, end)) = shot {
            self.last_shot = Some(at);
            self.last_end = Some(end);
            self.observer.shot(at);
            for target in &report.targets {
                let fate = fate(target);
                let (node, unit, pid) = (target.node.clone(), target.unit.clone(), target.old_pid);
                self.tell(What::Shot { step: report.step, node, unit, pid, fate });
            }
            if let Some(held) = report.held {
                let (frames, dropped, held_ms) = (held.frames, held.dropped, held.duration_ms);
                self.tell(What::Released { frames, dropped, held_ms });
            }
            let deadly = report.targets.iter().all(|t| matches!(t.fate, Fate::Died | Fate::Signalled));
            if deadly {
                self.comebacks.expect(fault, at, &report.targets);
                self.watch(fault, &report);
            }
        }
        self.leases.extend(lease);
        self.move_barrier();
        let no_effect = report.no_effect.clone().map(|reason| format!("{}: {reason}", report.text));
        if report.signal == "SIGCONT" && no_effect.is_none() {
            self.continued(&report)?;
        }
        self.faults.push(report);
        if let Some(error) = broken {
            return Err(error.into());
        }
        match no_effect {
            Some(reason) => Err(Outcome::new(Verdict::NoEffect, reason)),
            None => Ok(()),
        }
    }

    /// Settles the leases of processes that a step has continued.
    fn continued(&mut self, report: &KillReport) -> Result<(), FaultError> {
        let hit = |node: &str, unit: &str| report.targets.iter().any(|t| t.node == node && t.unit == unit);
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
            let old = units.map(|target| (target.unit.clone(), target.old_pid)).collect();
            let (target, send) = (self.scene.target.clone(), self.send.clone());
            self.tasks.spawn(watch(fault, node.clone(), old, target, options.poll, options.probe_limit, send));
        }
    }

    /// Undoes the remaining faults at the end of the method.
    pub(super) async fn heal(&mut self) -> Result<(), Outcome> {
        let mut failed = Ok(());
        for mut lease in std::mem::take(&mut self.leases) {
            let what = lease.lease().map(|lease| lease.what.clone()).unwrap_or_default();
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
                    outcome.hint = Some("retry with `labctl scenario heal`".to_owned());
                    failed = Err(outcome);
                    self.tell(What::NotHealed { what, error: error.message });
                }
            }
        }
        self.move_barrier();
        failed
    }
}

/// What happened to a target, for display.
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
