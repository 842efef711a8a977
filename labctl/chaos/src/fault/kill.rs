//! Sends a signal to the main processes of systemd units, on all picked nodes at once.
//!
//! ```text
//! pick ▶ arm everywhere ▶ journal ▶ hold the network ▶ fire everywhere ▶ last death confirmed ▶ release
//!            │ a unit without a process: nothing is fired, no effect
//! ```
//!
//! With SIGKILL the agents answer when the processes are dead. The network is therefore held from the first shot to the
//! last confirmed death, so that no survivor can see one death before another. With other signals it is held only until
//! every signal is sent, because a process that is asked to exit needs the network to shut down cleanly.

use futures_util::future::join_all;
use labctl_spec::scenario::{KillStep, Pick, Signal};
use std::time::Duration;
use tokio::time::{Instant, timeout};

use super::stopped::is_stopped;
use super::{Fate, KillReport, Scene, Skew, TargetReport};
use crate::lease::{OpenLease, Undo, UnitsOn, next_shot};
use crate::pick;
use crate::target::{Armed, Death, FaultError, Held, UnitState};

/// How much longer than the agents' limit the switch holds the network if nothing releases it.
const HOLD_MARGIN: Duration = Duration::from_secs(1);

/// The outcome of a kill step.
pub(crate) struct Fired {
    pub report: KillReport,
    /// Instants of the first shot and of the last agent's answer; `None` if nothing was fired.
    pub shot: Option<(Instant, Instant)>,
    /// Stopped processes, to be continued later.
    pub lease: Option<OpenLease>,
    /// The shot was fired, but the network could not be released afterwards.
    pub broken: Option<FaultError>,
}

impl Fired {
    fn nothing(report: KillReport) -> Self {
        Self { report, shot: None, lease: None, broken: None }
    }
}

/// The step, for display: `SIGKILL consul.service on minority of servers, clients`.
pub(crate) fn text(step: &KillStep) -> String {
    let pick = match step.pick {
        Pick::One => "one of ",
        Pick::Minority => "a minority of ",
        Pick::Majority => "a majority of ",
        Pick::All => "",
    };
    let (signal, units, on) = (name(step.signal), step.units.join(", "), step.on.join(", "));
    format!("{signal} to {units} on {pick}{on}")
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Sigkill => "SIGKILL",
        Signal::Sigterm => "SIGTERM",
        Signal::Sigstop => "SIGSTOP",
        Signal::Sigcont => "SIGCONT",
    }
}

/// Runs the step. `remaining` is the planned duration of the rest of the method; stopped processes stay stopped that
/// long.
///
/// # Errors
/// Nothing was fired: an agent, the switch or the journal failed before the shot.
pub(crate) async fn kill(scene: &Scene<'_>, index: usize, step: &KillStep, remaining: Duration) -> Result<Fired, FaultError> {
    let candidates = pick::resolve(&step.on, scene.groups)?;
    let picked = pick::choose(scene.options.seed, index, step.pick, &candidates);
    let mut report = KillReport {
        step: index,
        text: text(step),
        signal: name(step.signal).to_owned(),
        no_effect: None,
        shot_ms: None,
        targets: Vec::new(),
        skew: None,
        held: None,
        candidates,
        picked,
    };
    if report.picked.is_empty() {
        let n = report.candidates.len();
        report.no_effect = Some(format!("that is none of {n} nodes, so there is no target"));
        return Ok(Fired::nothing(report));
    }

    let shot = next_shot();
    report.targets = arm(scene, shot, step, &report.picked).await?;
    report.no_effect = nothing_to_shoot(scene, step.signal, &mut report.targets).await?;
    if report.no_effect.is_some() {
        return Ok(Fired::nothing(report));
    }

    let lease = match step.signal {
        Signal::Sigstop => Some(stop_lease(scene, step, &report, remaining)?),
        _ => None,
    };
    let (at, end, broken) = fire(scene, shot, step.signal, &mut report).await?;
    if matches!(step.signal, Signal::Sigstop | Signal::Sigcont) {
        confirm_stop(scene, step.signal, &mut report.targets).await;
    }
    report.no_effect = missed(step.signal, &report.targets);
    Ok(Fired { report, shot: Some((at, end)), lease, broken })
}

/// Holds the processes on all nodes; returns them node by node. They are not affected yet.
async fn arm(scene: &Scene<'_>, shot: u64, step: &KillStep, nodes: &[String]) -> Result<Vec<TargetReport>, FaultError> {
    let limit = scene.options.arm_limit;
    let answers = join_all(nodes.iter().map(|node| async move {
        let both = async { tokio::try_join!(scene.target.arm(node, shot, &step.units), scene.target.units(node, &step.units)) };
        match timeout(limit, both).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(FaultError::new(format!("{node}: no answer from the agent within {limit:?}"))
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

/// Leaves out units that exist on another node but not on this one: a step may name the units of several kinds of nodes
/// so that all are killed at the same moment. A unit that exists on no node is kept and reported.
fn existing(targets: Vec<TargetReport>) -> Vec<TargetReport> {
    let missing = |target: &TargetReport| target.state.ends_with("/not-found");
    let somewhere: Vec<String> = targets.iter().filter(|target| !missing(target)).map(|target| target.unit.clone()).collect();
    targets.into_iter().filter(|target| !missing(target) || !somewhere.contains(&target.unit)).collect()
}

fn target(node: &str, unit: &str, armed: &[Armed], states: &[UnitState]) -> TargetReport {
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

/// Why nothing should be fired: an intended process does not exist (or, for SIGCONT, is not stopped).
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
    Ok(why(targets, |target| target.error.is_none()).map(|reason| format!("{reason}; nothing was fired")))
}

fn stop_lease(scene: &Scene<'_>, step: &KillStep, report: &KillReport, remaining: Duration) -> Result<OpenLease, FaultError> {
    let on = |node: &String| UnitsOn { node: node.clone(), units: step.units.clone() };
    let undo = Undo::Continue { targets: report.picked.iter().map(on).collect() };
    let length = remaining + scene.options.fire_limit + scene.options.lease_margin;
    scene.lease(report.text.clone(), undo, length)
}

/// Holds the network, fires everywhere, and releases the network. Returns the instants of the shot and of the last
/// answer, and why the network could not be released, if so.
async fn fire(
    scene: &Scene<'_>,
    shot: u64,
    signal: Signal,
    report: &mut KillReport,
) -> Result<(Instant, Instant, Option<FaultError>), FaultError> {
    let limit = scene.options.fire_limit;
    let hold_limit = limit + HOLD_MARGIN;
    let what = format!("network held for {}", report.text);
    // Releases the network however it is dropped.
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
        // Try once more; if that fails too, the lease stays in the journal.
        _ => hold.close().await.map(|()| Held::default()),
    };

    report.shot_ms = Some(scene.since_start(at));
    report.held = released.as_ref().ok().map(|held| (*held).into());
    let milliseconds = |to: Instant| (to - at).as_secs_f64() * 1e3;
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for (node, (answer, answered)) in report.picked.iter().zip(answers) {
        let after = milliseconds(answered);
        (first, last) = (first.min(after), last.max(after));
        let of_node = report.targets.iter_mut().filter(|t| t.node == *node);
        for target in of_node {
            target.answered_ms = Some(after);
            match &answer {
                Ok(deaths) => judge(target, signal, deaths),
                Err(error) => target.error = Some(error.message.clone()),
            }
        }
    }
    report.skew = Some(Skew { spread_ms: last - first, within_ms: last });
    Ok((at, end, released.err()))
}

/// Evaluates the agent's answer about a process.
fn judge(target: &mut TargetReport, signal: Signal, deaths: &[Death]) {
    let Some(death) = deaths.iter().find(|death| death.unit == target.unit) else {
        target.error = Some("the agent does not mention it".to_owned());
        return;
    };
    if let Some(error) = &death.error {
        target.error = Some(error.clone());
        return;
    }
    target.fate = match (signal, death.dead_ns) {
        (_, Some(dead)) => {
            // A clock that was set meanwhile must not produce a nonsensical value.
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

/// Polls until every process is stopped (or continued), or the time limit is reached.
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

/// Why the shot counts as having no effect. SIGTERM is judged later, by the units' next main processes.
fn missed(signal: Signal, targets: &[TargetReport]) -> Option<String> {
    let wanted = match signal {
        Signal::Sigkill => [Fate::Died, Fate::Died],
        Signal::Sigterm => [Fate::Signalled, Fate::Died],
        Signal::Sigstop => [Fate::Stopped, Fate::Stopped],
        Signal::Sigcont => [Fate::Continued, Fate::Continued],
    };
    why(targets, |target| target.error.is_none() && wanted.contains(&target.fate))
}

/// `2 of 3 processes were hit; consul.service on client1 did not die`; `None` if all were hit.
pub(super) fn why(targets: &[TargetReport], hit: impl Fn(&TargetReport) -> bool) -> Option<String> {
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
