//! A signal to the main processes of systemd units, on all picked nodes at once.
//!
//! ```text
//! pick ▶ arm everywhere ▶ journal ▶ hold the network ▶ fire everywhere ▶ last death confirmed ▶ release
//!            │ a unit without a process: nothing is fired, no effect
//! ```
//!
//! With SIGKILL the agents answer once the processes are dead. The network is held from the first shot to the last confirmed death, so no
//! survivor can see one death before another. With other signals it is held until every signal is sent: a process that is asked to exit
//! needs the network to shut down cleanly.

mod comeback;
mod details;
mod stopped;

use std::time::Duration;

use comeback::Comebacks;
use futures_util::future::join_all;
use labctl_spec::network::HeldFrames;
use labctl_spec::scenario::{KillStep, Signal};
use labctl_wire::{ArmedProcess, Death, UnitState};
use stopped::is_stopped;
use tokio::time::{Instant, timeout};

use super::units::{Sighting, Watched};
use super::{Fault, FaultReport, Groups, Injected, Injection, Scene, as_details};
use crate::event::What;
use crate::ids::next_id;
use crate::options::Options;
use crate::pick;
use crate::target::{BoxFuture, FaultError};
use crate::undo::{Undo, UnitsOn};

pub(crate) use details::show;
pub use details::{Fate, KillDetails, Skew, TargetReport};

/// How much longer than the agents' limit the switch holds the network if nothing releases it.
const HOLD_MARGIN: Duration = Duration::from_secs(1);

/// A kill step.
pub(crate) struct Kill(pub KillStep);

impl Fault for Kill {
    fn kind(&self) -> &'static str {
        "kill"
    }

    fn text(&self) -> String {
        let (signal, units, on) = (name(self.0.signal), self.0.units.join(", "), self.0.on.join(", "));
        format!("{signal} to {units} on {}{on}", pick::words(self.0.pick))
    }

    fn check(&self, groups: &Groups) -> Result<(), FaultError> {
        pick::resolve(&self.0.on, groups).map(drop)
    }

    fn length(&self, options: &Options) -> Duration {
        options.arm_limit + 2 * options.fire_limit
    }

    fn inject<'a>(&'a self, scene: &'a Scene<'a>, step: usize, rest: Duration) -> BoxFuture<'a, Result<Injection, FaultError>> {
        Box::pin(self.kill(scene, step, rest))
    }
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Sigkill => "SIGKILL",
        Signal::Sigterm => "SIGTERM",
        Signal::Sigstop => "SIGSTOP",
        Signal::Sigcont => "SIGCONT",
    }
}

/// A kill that was carried out.
struct Killed {
    report: FaultReport,
    details: KillDetails,
    comebacks: Comebacks,
}

impl Injected for Killed {
    fn see(&mut self, sighting: Sighting) -> Option<What> {
        self.comebacks.see(sighting, &mut self.details.targets)
    }

    fn restored(&self, from: Instant) -> Option<Instant> {
        self.comebacks.all_up(from)
    }

    fn complaints(&self) -> Vec<String> {
        self.comebacks.complaints()
    }

    fn conclude(&mut self) {
        if self.comebacks.conclude(&mut self.details.targets) {
            self.report.no_effect = why(&self.details.targets, |target| target.error.is_none());
        }
    }

    fn report(&self) -> FaultReport {
        FaultReport { details: as_details(&self.details), ..self.report.clone() }
    }
}

impl Kill {
    async fn kill(&self, scene: &Scene<'_>, step: usize, rest: Duration) -> Result<Injection, FaultError> {
        let (wanted, signal) = (&self.0, self.0.signal);
        let candidates = pick::resolve(&wanted.on, scene.groups)?;
        let picked = pick::choose(scene.options.seed, step, wanted.pick, &candidates);
        let report = FaultReport {
            step,
            kind: self.kind().to_owned(),
            text: self.text(),
            candidates,
            picked,
            injected_ms: None,
            no_effect: None,
            details: serde_json::Map::new(),
        };
        let details = KillDetails { signal: name(signal).to_owned(), targets: Vec::new(), skew: None, held: None };
        let mut killed = Killed { report, details, comebacks: Comebacks::default() };
        if killed.report.picked.is_empty() {
            let n = killed.report.candidates.len();
            killed.report.no_effect = Some(format!("this picks none of {n} nodes, so there is nothing to signal"));
            return Ok(Injection::nothing(Box::new(killed)));
        }

        let shot = next_id();
        killed.details.targets = arm(scene, shot, wanted, &killed.report.picked).await?;
        killed.report.no_effect = nothing_to_shoot(scene, signal, &mut killed.details.targets).await?;
        if killed.report.no_effect.is_some() {
            return Ok(Injection::nothing(Box::new(killed)));
        }

        let on = |node: &String| UnitsOn { node: node.clone(), units: wanted.units.clone() };
        let go_on = Undo::Continue { targets: killed.report.picked.iter().map(on).collect() };
        let lease = match signal {
            Signal::Sigstop => {
                let length = rest.saturating_add(scene.options.fire_limit + scene.options.lease_margin);
                Some(scene.lease(killed.report.text.clone(), go_on.clone(), length)?)
            }
            _ => None,
        };
        let (at, end, broken) = fire(scene, shot, signal, &mut killed).await?;
        let (targets, picked) = (&mut killed.details.targets, &killed.report.picked);
        if matches!(signal, Signal::Sigstop | Signal::Sigcont) {
            confirm_stop(scene, signal, targets).await;
        }
        killed.report.no_effect = missed(signal, targets);
        let mut tell: Vec<What> = targets.iter().map(|target| shot_at(step, target)).collect();
        if let Some(HeldFrames { frames, dropped, duration_ms, .. }) = killed.details.held {
            tell.push(What::Released { frames, dropped, held_ms: duration_ms });
        }
        let deadly = targets.iter().all(|target| matches!(target.fate, Fate::Died | Fate::Signalled));
        let watch = if deadly { picked.iter().map(|node| watched(node, targets)).collect() } else { Vec::new() };
        if deadly {
            killed.comebacks.expect(at, targets);
        }
        let undoes = (signal == Signal::Sigcont && killed.report.no_effect.is_none()).then_some(go_on);
        Ok(Injection { fault: Box::new(killed), at: Some((at, end)), tell, lease, undoes, watch, broken })
    }
}

/// The targets on a node.
fn watched(node: &str, targets: &[TargetReport]) -> Watched {
    let units = targets.iter().filter(|target| target.node == node);
    Watched { node: node.to_owned(), old: units.map(|target| (target.unit.clone(), target.old_pid)).collect() }
}

fn shot_at(step: usize, target: &TargetReport) -> What {
    What::Shot { step, node: target.node.clone(), unit: target.unit.clone(), pid: target.old_pid, fate: target.words() }
}

/// Arms the processes on all nodes and lists them node by node. Nothing has happened to them yet.
async fn arm(scene: &Scene<'_>, shot: u64, step: &KillStep, nodes: &[String]) -> Result<Vec<TargetReport>, FaultError> {
    let limit = scene.options.arm_limit;
    let answers = join_all(nodes.iter().map(|node| async move {
        let both = async { tokio::try_join!(scene.target.arm(node, shot, &step.units), scene.target.units(node, &step.units)) };
        match timeout(limit, both).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(FaultError::new(format!("{node}: the agent did not answer within {limit:?}"))
                .hint(format!("see `labctl status` and `labctl console {node}`"))),
        }
    }))
    .await;
    let mut targets = Vec::new();
    for (node, answer) in nodes.iter().zip(answers) {
        let (armed, states) = answer?;
        targets.extend(step.units.iter().map(|unit| target(node, unit, &armed, &states)));
    }
    Ok(existing(targets))
}

/// Drops units that a node does not have but another node does: a step may name the units of several kinds of nodes, so that they die at
/// the same moment. A unit that no node has is kept and reported.
fn existing(targets: Vec<TargetReport>) -> Vec<TargetReport> {
    let missing = |target: &TargetReport| target.state.ends_with("/not-found");
    let somewhere: Vec<String> = targets.iter().filter(|target| !missing(target)).map(|target| target.unit.clone()).collect();
    targets.into_iter().filter(|target| !missing(target) || !somewhere.contains(&target.unit)).collect()
}

fn target(node: &str, unit: &str, armed: &[ArmedProcess], states: &[UnitState]) -> TargetReport {
    TargetReport {
        node: node.to_owned(),
        unit: unit.to_owned(),
        old_pid: armed.iter().find(|a| a.unit == unit).map_or(0, |a| a.pid),
        new_pid: None,
        fate: Fate::Untouched,
        latency_us: None,
        answered_ms: None,
        back_after_ms: None,
        state: states.iter().find(|state| state.unit == unit).map_or("unknown".to_owned(), |s| format!("{}/{}", s.active, s.sub)),
        error: None,
    }
}

/// Why nothing should be fired: a target process does not exist (or, for SIGCONT, is not stopped).
async fn nothing_to_shoot(scene: &Scene<'_>, signal: Signal, targets: &mut [TargetReport]) -> Result<Option<String>, FaultError> {
    for target in targets.iter_mut() {
        if target.old_pid == 0 {
            target.error = Some("has no main process".to_owned());
        } else if signal == Signal::Sigcont {
            let limit = scene.options.arm_limit;
            if !is_stopped(&**scene.target, &target.node, target.old_pid, limit).await? {
                target.error = Some("is not stopped".to_owned());
            }
        }
    }
    Ok(why(targets, |target| target.error.is_none()).map(|reason| format!("{reason}; no signal was sent")))
}

/// Holds the network, fires everywhere, releases the network. Returns the instants of the shot and of the last answer, and the error if the
/// network could not be released.
async fn fire(
    scene: &Scene<'_>,
    shot: u64,
    signal: Signal,
    killed: &mut Killed,
) -> Result<(Instant, Instant, Option<FaultError>), FaultError> {
    let Killed { report, details, .. } = killed;
    let limit = scene.options.fire_limit;
    let hold_limit = limit + HOLD_MARGIN;
    let what = format!("network held for {}", report.text);
    // However it is dropped, it releases the network.
    let mut hold = scene.lease(what, Undo::ReleaseNetwork, hold_limit)?;
    scene.target.hold_network(hold_limit).await?;

    let at = Instant::now();
    let answers = join_all(report.picked.iter().map(|node| async move {
        let answer = match timeout(limit, scene.target.fire(node, shot, signal)).await {
            Ok(answer) => answer,
            Err(_) => Err(FaultError::new(format!("no answer within {limit:?}"))),
        };
        (answer, Instant::now())
    }))
    .await;
    let end = Instant::now();
    let released = match timeout(limit, scene.target.release_network()).await {
        Ok(Ok(held)) => hold.settled().map(|()| held),
        // Try once more; after a second failure it stays in the journal.
        _ => hold.close().await.map(|()| HeldFrames::default()),
    };

    report.injected_ms = Some(scene.since_start(at));
    details.held = released.as_ref().ok().copied();
    let milliseconds = |to: Instant| (to - at).as_secs_f64() * 1e3;
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for (node, (answer, answered)) in report.picked.iter().zip(answers) {
        let after = milliseconds(answered);
        (first, last) = (first.min(after), last.max(after));
        let of_node = details.targets.iter_mut().filter(|t| t.node == *node);
        for target in of_node {
            target.answered_ms = Some(after);
            match &answer {
                Ok(deaths) => judge(target, signal, deaths),
                Err(error) => target.error = Some(error.message.clone()),
            }
        }
    }
    details.skew = Some(Skew { spread_ms: last - first, within_ms: last });
    Ok((at, end, released.err()))
}

/// What the agent's answer says about a process.
fn judge(target: &mut TargetReport, signal: Signal, deaths: &[Death]) {
    let Some(death) = deaths.iter().find(|death| death.unit == target.unit) else {
        target.error = Some("the agent did not report on it".to_owned());
        return;
    };
    if let Some(error) = &death.error {
        target.error = Some(error.clone());
        return;
    }
    target.fate = match (signal, death.dead_ns) {
        (_, Some(dead)) => {
            // A clock that was set in the meantime must not give an absurd number.
            target.latency_us = dead.checked_sub(death.sent_ns).map(|ns| ns / 1000);
            Fate::Died
        }
        (Signal::Sigkill, None) => {
            target.error = Some("did not die".to_owned());
            Fate::Survived
        }
        (_, None) => Fate::Signalled,
    };
}

/// Polls until every process is stopped (or running again), or until the time limit.
async fn confirm_stop(scene: &Scene<'_>, signal: Signal, targets: &mut [TargetReport]) {
    let options = scene.options;
    let want = signal == Signal::Sigstop;
    let looks = targets.iter_mut().filter(|t| t.fate == Fate::Signalled).map(|target| async move {
        let look = async {
            while is_stopped(&**scene.target, &target.node, target.old_pid, options.fire_limit).await? != want {
                tokio::time::sleep(options.poll).await;
            }
            Ok::<(), FaultError>(())
        };
        match timeout(options.fire_limit, look).await {
            Ok(Ok(())) => target.fate = if want { Fate::Stopped } else { Fate::Continued },
            Ok(Err(error)) => target.error = Some(error.message),
            Err(_) => {
                target.fate = Fate::Survived;
                let not = if want { "did not stop" } else { "did not continue" };
                target.error = Some(not.to_owned());
            }
        }
    });
    join_all(looks).await;
}

/// Why the shot counts as having had no effect. SIGTERM is judged later, by the units' next main processes.
fn missed(signal: Signal, targets: &[TargetReport]) -> Option<String> {
    let wanted = match signal {
        Signal::Sigkill => [Fate::Died, Fate::Died],
        Signal::Sigterm => [Fate::Signalled, Fate::Died],
        Signal::Sigstop => [Fate::Stopped, Fate::Stopped],
        Signal::Sigcont => [Fate::Continued, Fate::Continued],
    };
    why(targets, |target| target.error.is_none() && wanted.contains(&target.fate))
}

/// Such as `2 of 3 processes hit; consul.service on client1: did not die (active/running)`; none if all were hit.
fn why(targets: &[TargetReport], hit: impl Fn(&TargetReport) -> bool) -> Option<String> {
    let misses: Vec<String> = targets
        .iter()
        .filter(|target| !hit(target))
        .map(|target| {
            let reason = target.error.as_deref().unwrap_or("was not hit");
            format!("{} on {}: {reason} ({})", target.unit, target.node, target.state)
        })
        .collect();
    let (total, missed) = (targets.len(), misses.len());
    (missed > 0).then(|| format!("{} of {total} processes hit; {}", total - missed, misses.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_only_some_nodes_have_are_meant_where_they_are() {
        let on = |node: &str, unit: &str, sub: &str| {
            let active = if sub == "running" { "active" } else { "inactive" };
            let state = UnitState { unit: unit.into(), active: active.into(), sub: sub.into(), main_pid: 1, restarts: 0 };
            target(node, unit, &[], &[state])
        };
        let all = vec![
            on("a", "x", "running"),
            on("a", "y", "running"),
            on("b", "x", "running"),
            on("b", "y", "not-found"),
            on("b", "z", "not-found"),
        ];
        let left: Vec<(String, String)> = existing(all).into_iter().map(|target| (target.node, target.unit)).collect();
        let expected = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")];
        assert_eq!(left, expected.map(|(node, unit)| (node.to_owned(), unit.to_owned())), "z is nowhere and must be reported");
    }
}
