//! Runs the method's steps in order, and undoes them.

use std::time::Duration;

use labctl_spec::scenario::Step;
use tokio::time::Instant;

use super::{InForce, Outcome, Run};
use crate::event::{Event, What};
use crate::fault::{Fault, Injection, bounded, registry, units};
use crate::lease::OpenLease;
use crate::options::Options;
use crate::target::FaultError;
use crate::undo::Undo;
use crate::verdict::Verdict;

/// How often undoing a fault is tried before it is left to the journal, and the pause between tries.
const HEAL_TRIES: u32 = 3;
const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// How long a step takes by itself, at most.
fn length(step: &Step, options: &Options) -> Duration {
    match (step, registry::fault(step)) {
        (_, Some(fault)) => fault.length(options).saturating_add(fault.lasts().unwrap_or_default()),
        (Step::Wait(duration), None) => bounded(*duration),
        (_, None) => Duration::ZERO,
    }
}

impl<F: Fn(Event) + Send + Sync> Run<'_, F> {
    pub(super) async fn carry_out_method(&mut self) -> Result<(), Outcome> {
        for (index, step) in self.scenario.method.iter().enumerate() {
            match (step, registry::fault(step)) {
                (_, Some(fault)) => {
                    let rest = self.scenario.method[index + 1..].iter().map(|step| length(step, self.scene.options));
                    let rest = rest.fold(Duration::ZERO, Duration::saturating_add);
                    self.inject(index, &*fault, rest).await?;
                }
                (Step::Wait(duration), None) => {
                    self.tell(What::Step { step: index, text: format!("wait {duration}") });
                    self.wait(bounded(*duration)).await;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    async fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.listen(end).await;
        }
    }

    /// Carries out a step that breaks something. If the step has a duration, it is over when this returns.
    async fn inject(&mut self, step: usize, fault: &dyn Fault, rest: Duration) -> Result<(), Outcome> {
        self.tell(What::Step { step, text: fault.text() });
        let Injection { fault: injected, at, tell, lease, undoes, watch, broken } = fault.inject(&self.scene, step, rest).await?;
        let place = self.faults.len();
        let report = injected.report();
        self.faults.push(injected);
        if let Some((at, end)) = at {
            self.last_shot = Some(at);
            self.last_end = Some(end);
            self.observer.shot(at);
        }
        tell.into_iter().for_each(|what| self.tell(what));
        for watched in watch {
            let (target, send, options) = (self.scene.target.clone(), self.send.clone(), self.scene.options);
            self.tasks.spawn(units::watch(place, watched, target, options.poll, options.probe_limit, send));
        }
        self.in_force.extend(lease.map(|lease| InForce { fault: place, lease }));
        self.move_barrier();
        if let Some(undone) = undoes {
            self.settle(&undone)?;
        }
        if let Some(error) = broken {
            return Err(error.into());
        }
        if let Some(reason) = report.no_effect {
            return Err(Outcome::new(Verdict::NoEffect, format!("{}: {reason}", report.text)));
        }
        match fault.lasts() {
            Some(time) => {
                self.wait(time).await;
                if at.is_some() && self.in_force.iter().all(|in_force| in_force.fault != place) {
                    // It needs no undoing: its end is only the end of its time.
                    self.faults[place].observe(&**self.scene.target).await;
                    self.last_end = Some(Instant::now());
                    self.move_barrier();
                }
                self.heal(|in_force| in_force.fault == place).await
            }
            None => Ok(()),
        }
    }

    /// Settles the leases of faults that a step has undone.
    fn settle(&mut self, undone: &Undo) -> Result<(), FaultError> {
        for InForce { lease, .. } in &mut self.in_force {
            if lease.is_covered_by(undone) {
                lease.settled()?;
            }
        }
        self.in_force.retain(|in_force| in_force.lease.lease().is_some());
        self.move_barrier();
        Ok(())
    }

    /// Undoes the faults in effect that `which` selects.
    pub(super) async fn heal(&mut self, which: impl Fn(&InForce) -> bool) -> Result<(), Outcome> {
        let mut failed = Ok(());
        let (now, later): (Vec<InForce>, Vec<InForce>) = std::mem::take(&mut self.in_force).into_iter().partition(which);
        self.in_force = later;
        for InForce { fault, mut lease } in now {
            let what = lease.lease().map(|lease| lease.what.clone()).unwrap_or_default();
            self.faults[fault].observe(&**self.scene.target).await;
            let result = close(&mut lease).await;
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

/// Undoes what a lease covers, with a few tries.
async fn close(lease: &mut OpenLease) -> Result<(), FaultError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match lease.close().await {
            Err(_) if tries < HEAL_TRIES => tokio::time::sleep(HEAL_PAUSE).await,
            result => return result,
        }
    }
}
