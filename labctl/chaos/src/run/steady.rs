//! Waits for the steady state, before the method and after it.

use tokio::time::Instant;

use super::{Outcome, Run};
use crate::event::{Event, What};
use crate::fault::bounded;
use crate::report::{Before, Recovery};
use crate::verdict::Verdict;

impl<F: Fn(Event) + Send + Sync> Run<'_, F> {
    pub(super) async fn wait_until_steady(&mut self) -> Option<Outcome> {
        let (limit, settle) = (self.scene.options.steady_limit, self.scene.options.settle);
        let deadline = self.scene.start + limit;
        loop {
            if let Some(since) = self.observer.settled(settle) {
                self.before = Before { steady: true, waited_ms: self.since_start(Instant::now()), complaints: Vec::new() };
                let since_ms = self.since_start(since);
                self.tell(What::Steady { since_ms });
                return None;
            }
            let now = Instant::now();
            // If the state holds at the deadline, it may still last long enough.
            if now >= deadline && self.observer.steady_since().is_none() {
                let complaints = self.observer.complaints();
                self.before = Before { steady: false, waited_ms: self.since_start(now), complaints: complaints.clone() };
                let reason = match complaints.is_empty() {
                    true => {
                        format!("the probes never all held for {settle:?} within {limit:?}")
                    }
                    false => format!("still failing after {limit:?}: {}", complaints.join("; ")),
                };
                let mut outcome = Outcome::new(Verdict::NotSteadyBefore, reason);
                outcome.hint = Some("no fault was injected; check `labctl status` and bring the lab up first".to_owned());
                return Some(outcome);
            }
            self.listen(deadline).await;
        }
    }

    pub(super) async fn wait_until_recovered(&mut self) -> Outcome {
        let allowed = bounded(self.scenario.recover_within);
        let settle = self.scene.options.settle;
        let deadline = self.last_end.unwrap_or_else(Instant::now) + allowed;
        let since = loop {
            if let Some(since) = self.observer.settled(settle) {
                break Some(since);
            }
            // If the state holds at the deadline, it may still last long enough.
            if Instant::now() >= deadline && self.observer.steady_since().is_none() {
                break None;
            }
            self.listen(deadline).await;
        };
        self.faults.iter_mut().for_each(|fault| fault.conclude());
        let mut complaints: Vec<String> = self.faults.iter().flat_map(|fault| fault.complaints()).collect();
        complaints.extend(self.observer.complaints());
        let after = since.zip(self.last_shot).map(|(since, shot)| (since - shot).as_secs_f64());
        self.recovery =
            self.last_shot.map(|_| Recovery { seconds: after, allowed_seconds: allowed.as_secs_f64(), complaints: complaints.clone() });
        let mut reports = self.faults.iter().map(|fault| fault.report());
        if let Some((text, reason)) = reports.find_map(|report| Some((report.text, report.no_effect?))) {
            return Outcome::new(Verdict::NoEffect, format!("{text}: {reason}"));
        }
        match since {
            Some(since) if since <= deadline => Outcome { verdict: Verdict::Passed, reason: None, hint: None },
            Some(since) => {
                let late = (since - deadline).as_secs_f64();
                let reason = format!("steady again {late:.1} s later than the allowed {allowed:?}");
                Outcome::new(Verdict::Failed, reason)
            }
            None => {
                let why = match complaints.is_empty() {
                    true => format!("the probes never all held for {settle:?}"),
                    false => complaints.join("; "),
                };
                Outcome::new(Verdict::Failed, format!("not steady again within {allowed:?}: {why}"))
            }
        }
    }
}
