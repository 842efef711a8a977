use std::sync::Mutex;
use std::time::Duration;

use labctl_spec::scenario::{self, Check, HttpCheck, KillStep, Pick, Probe, Scenario, Signal};

use super::*;
use crate::fake::{FakeJournal, FakeLab, Service, ms};
use crate::fault::Fate;
use crate::lease::heal;
use crate::render;

#[path = "storm_tests.rs"]
mod storm;

const UNIT: &str = "consul.service";

fn http(name: &str) -> Probe {
    let check = HttpCheck {
        node: "n1".into(),
        port: 80,
        path: None,
        status: None,
        contains: None,
    };
    Probe {
        name: name.into(),
        check: Check::Http(check),
    }
}

fn kill_on(on: &str, pick: Pick, signal: Signal) -> Step {
    Step::Kill(KillStep {
        units: vec![UNIT.into()],
        on: vec![on.into()],
        pick,
        signal,
    })
}

fn wait(duration: Duration) -> Step {
    Step::Wait(scenario::Duration(duration))
}

fn scenario(method: Vec<Step>) -> Scenario {
    Scenario {
        name: "kill_consul".into(),
        description: Some("Every Consul agent dies at once".into()),
        steady_state: vec![http("web")],
        method,
        recover_within: scenario::Duration(ms(10_000)),
    }
}

struct Bench {
    lab: Arc<FakeLab>,
    journal: Arc<FakeJournal>,
    groups: BTreeMap<String, Vec<String>>,
    events: Mutex<Vec<Event>>,
}

impl Bench {
    fn new(nodes: &[&str]) -> Self {
        let lab = FakeLab::new(nodes, &[UNIT]);
        let all = nodes.iter().map(|node| (*node).to_owned()).collect();
        Self {
            journal: FakeJournal::new(&lab),
            lab,
            groups: BTreeMap::from([("all".to_owned(), all)]),
            events: Mutex::default(),
        }
    }

    async fn run(&self, scenario: &Scenario) -> Report {
        self.run_with(scenario, &Options::default()).await
    }

    async fn run_with(&self, scenario: &Scenario, options: &Options) -> Report {
        let events = |event| self.events.lock().unwrap().push(event);
        let report = run(
            scenario,
            &self.groups,
            self.lab.clone(),
            self.journal.clone(),
            options,
            events,
        )
        .await;
        assert_eq!(
            *self.events.lock().unwrap(),
            report.timeline,
            "what was told is what is reported"
        );
        report
    }

    fn nothing_left(&self) {
        assert!(
            !self.lab.held(),
            "the network is held: {:?}",
            self.lab.deeds()
        );
        assert_eq!(self.journal.open().unwrap(), [], "{:?}", self.lab.deeds());
    }
}

fn kill_all() -> Scenario {
    scenario(vec![kill_on("all", Pick::All, Signal::Sigkill)])
}

#[tokio::test(start_paused = true)]
async fn a_killed_cluster_that_comes_back_passes() {
    let bench = Bench::new(&["n1", "n2", "n3"]);
    bench.lab.serve(Service::AfterUnits(ms(4000)));
    bench.lab.slow("n2", ms(50));
    let report = bench.run(&kill_all()).await;

    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let fault = &report.faults[0];
    assert!(
        fault
            .targets
            .iter()
            .all(|t| t.fate == Fate::Died && t.new_pid == Some(t.old_pid + 1000))
    );
    assert!(fault.targets.iter().all(|t| t.latency_us == Some(800)));
    assert!(
        fault
            .targets
            .iter()
            .all(|t| (1000..1300).contains(&t.back_after_ms.unwrap()))
    );
    let skew = fault.skew.unwrap();
    assert_eq!(
        (skew.spread_ms.round(), skew.within_ms.round()),
        (40.0, 50.0)
    );
    let held = fault.held.unwrap();
    assert_eq!((held.frames, held.duration_ms.round()), (12, 50.0));
    // The last unit dies 50 ms after the shot, is back a second later, and the service needs four more.
    let seconds = report.recovery.as_ref().unwrap().seconds.unwrap();
    assert!((5.05..5.3).contains(&seconds), "{seconds}");
    let web = &report.probes[0];
    assert_eq!(web.windows.len(), 1);
    assert!(web.holds && web.detected_after_ms.unwrap() < 250 && web.failed > 20);
    assert_eq!(web.windows[0].first, "n1:80 refuses the connection");
    assert_eq!(web.recovered_after_ms.unwrap() as f64 / 1e3, seconds);
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn everything_is_armed_before_the_network_is_held_before_anything_is_fired() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.run(&kill_all()).await;
    let hold = "network held for SIGKILL to consul.service on all";
    assert_eq!(
        bench.lab.deeds(),
        [
            "arm n1".to_owned(),
            "arm n2".into(),
            format!("record {hold}"),
            "hold".into(),
            "fire n1 Sigkill".into(),
            "fire n2 Sigkill".into(),
            "release".into(),
            format!("healed {hold}"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_recovers_fails_at_the_limit() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::AfterUnits(ms(1_000_000)));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(
        report.reason.as_deref(),
        Some("not steady again within 10s: web: n1:80 refuses the connection")
    );
    assert_eq!(report.recovery.as_ref().unwrap().seconds, None);
    assert_eq!(report.probes[0].windows[0].to_ms, None);
    let after = report.elapsed_ms - report.faults[0].shot_ms.unwrap();
    assert!((10_000..10_500).contains(&after), "{after}");
    assert_eq!(report.repeat, "labctl scenario run kill_consul --seed 0");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_flaps_is_steady_only_after_the_last_failure() {
    let bench = Bench::new(&["n1"]);
    // Good and bad in turns of a second, shorter than what counts as settled.
    bench.lab.serve(Service::Flaps(ms(1000), ms(5500)));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let web = &report.probes[0];
    assert_eq!(web.windows.len(), 4, "{:#?}", web.windows);
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((6.5..6.8).contains(&seconds), "{seconds}");
    let told = report
        .timeline
        .iter()
        .filter(|e| matches!(e.what, What::Recovered { .. }));
    assert_eq!(told.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn steady_because_nothing_has_noticed_does_not_count() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::Blind);
    bench
        .lab
        .change("n2", UNIT, |unit| unit.comes_back_after = Some(ms(7000)));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed);
    assert_eq!(report.probes[0].windows, []);
    assert_eq!(report.probes[0].detected_after_ms, None);
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!(
        (7.0..7.5).contains(&seconds),
        "only once n2 is back: {seconds}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_does_not_come_back_fails_even_if_no_probe_notices() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::Blind);
    bench
        .lab
        .change("n2", UNIT, |unit| unit.comes_back_after = None);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(
        report.reason.as_deref(),
        Some("not steady again within 10s: consul.service on n2 did not come back: failed/failed")
    );
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_does_not_die_is_no_effect() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.change("n2", UNIT, |unit| unit.dies = false);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    let reason = report.reason.unwrap();
    assert!(
        reason.contains("1 of 2 processes hit; consul.service on n2: did not die (active/running)"),
        "{reason}"
    );
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn without_a_main_process_nothing_is_fired() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.change("n2", UNIT, |unit| unit.pid = 0);
    bench.lab.serve(Service::Blind);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert_eq!(
        report.reason.as_deref(),
        Some(
            "SIGKILL to consul.service on all: 1 of 2 processes hit; \
             consul.service on n2: has no main process (inactive/dead); nothing was fired"
        )
    );
    assert_eq!(bench.lab.deeds(), ["arm n1", "arm n2"]);
}

#[tokio::test(start_paused = true)]
async fn a_death_without_another_pid_is_no_effect() {
    let bench = Bench::new(&["n1"]);
    bench.lab.change("n1", UNIT, |unit| unit.keeps_pid = true);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(
        report
            .reason
            .unwrap()
            .contains("still has the same main process")
    );
    assert_eq!(report.faults[0].targets[0].fate, Fate::Survived);
}

#[tokio::test(start_paused = true)]
async fn a_minority_of_one_is_nobody() {
    let bench = Bench::new(&["n1"]);
    let report = bench
        .run(&scenario(vec![kill_on(
            "n1",
            Pick::Minority,
            Signal::Sigkill,
        )]))
        .await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("none of 1 nodes"));
    assert_eq!(bench.lab.deeds(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_unsteady_lab_is_left_alone() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::Broken);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NotSteadyBefore);
    assert_eq!(
        report.reason.as_deref(),
        Some("after 120s web: n1:80 refuses the connection")
    );
    assert_eq!(
        report.before.complaints,
        ["web: n1:80 refuses the connection"]
    );
    assert_eq!(report.before.waited_ms, 120_000);
    assert_eq!(bench.lab.deeds(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_never_answered_ends_at_its_limit() {
    let bench = Bench::new(&["n1"]);
    let mut scenario = kill_all();
    let check = scenario::TcpCheck {
        node: "n1".into(),
        port: 22,
    };
    scenario.steady_state.push(Probe {
        name: "ssh".into(),
        check: Check::Tcp(check),
    });
    let report = bench.run(&scenario).await;
    assert_eq!(report.verdict, Verdict::NotSteadyBefore);
    assert_eq!(
        report.reason.as_deref(),
        Some("after 120s ssh: no answer within 3s")
    );
}

#[tokio::test(start_paused = true)]
async fn endless_durations_are_no_trap() {
    let bench = Bench::new(&["n1"]);
    let mut scenario = kill_all();
    scenario.recover_within = scenario::Duration(Duration::MAX);
    scenario.method.push(wait(Duration::ZERO));
    assert_eq!(bench.run(&scenario).await.verdict, Verdict::Passed);

    let method = vec![
        kill_on("n1", Pick::All, Signal::Sigstop),
        wait(Duration::MAX),
        wait(Duration::MAX),
    ];
    let scenario = self::scenario(method);
    bench.events.lock().unwrap().clear();
    tokio::select! {
        report = bench.run(&scenario) => panic!("not cancelled: {report:?}"),
        () = until(|| bench.lab.is_stopped("n1", UNIT)) => {}
    }
    until(|| bench.journal.open().unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_may_be_a_task_of_its_own() {
    let bench = Bench::new(&["n1"]);
    let (lab, journal, groups) = (
        bench.lab.clone(),
        bench.journal.clone(),
        bench.groups.clone(),
    );
    let task = tokio::spawn(async move {
        run(
            &kill_all(),
            &groups,
            lab,
            journal,
            &Options::default(),
            |_| {},
        )
        .await
    });
    assert_eq!(task.await.unwrap().verdict, Verdict::Passed);
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_anything_starts() {
    let bench = Bench::new(&["n1"]);
    let mut wrong = scenario(vec![kill_on("serves", Pick::All, Signal::Sigkill)]);
    let report = bench.run(&wrong).await;
    assert_eq!(report.verdict, Verdict::Aborted);
    assert_eq!(report.elapsed_ms, 0);
    assert_eq!(
        report.reason.as_deref(),
        Some("`serves` is neither a group nor a node of the lab")
    );
    assert!(report.hint.unwrap().contains("groups are: all"));

    wrong = kill_all();
    wrong.steady_state[0].check = Check::Tcp(scenario::TcpCheck {
        node: "nobody".into(),
        port: 22,
    });
    bench.events.lock().unwrap().clear();
    let report = bench.run(&wrong).await;
    assert!(
        report
            .reason
            .unwrap()
            .contains("`nobody`, which is not a node")
    );

    wrong.steady_state.clear();
    bench.events.lock().unwrap().clear();
    assert_eq!(bench.run(&wrong).await.verdict, Verdict::Aborted);
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_machinery_abort_and_leave_nothing_behind() {
    // (what fails, how often, deeds that must not happen)
    for (deed, forbidden) in [("arm n2", "hold"), ("record", "hold"), ("hold", "fire")] {
        let bench = Bench::new(&["n1", "n2"]);
        bench.lab.fail(deed, 1);
        let report = bench.run(&kill_all()).await;
        assert_eq!(report.verdict, Verdict::Aborted, "{deed}");
        assert!(
            report.reason.unwrap().contains("refused by the test"),
            "{deed}"
        );
        let deeds = bench.lab.deeds();
        assert!(
            !deeds
                .iter()
                .any(|d| d.starts_with(forbidden) && !d.contains("failed")),
            "{deeds:?}"
        );
        until(|| bench.journal.open().unwrap().is_empty()).await;
        bench.nothing_left();
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_under_fire_still_releases_the_network() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.fail("fire n2", 1);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(
        report
            .reason
            .unwrap()
            .contains("1 of 2 processes hit; consul.service on n2: fire n2")
    );
    assert_eq!(report.faults[0].targets[0].fate, Fate::Died);
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_under_fire_holds_the_network_no_longer_than_the_limit() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.slow("n2", ms(3_600_000));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(
        report
            .reason
            .unwrap()
            .contains("consul.service on n2: no answer within 10s")
    );
    assert_eq!(report.faults[0].held.unwrap().duration_ms.round(), 10_000.0);
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_tried_again() {
    let bench = Bench::new(&["n1"]);
    bench.lab.fail("release", 1);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed);
    bench.nothing_left();

    let bench = Bench::new(&["n1"]);
    bench.lab.fail("release", 2);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Aborted);
    assert_eq!(
        report.faults[0].targets[0].fate,
        Fate::Died,
        "what was killed is said"
    );
    // The guard's own try, in the background.
    until(|| bench.journal.open().unwrap().is_empty()).await;
    bench.nothing_left();
}

/// Lets virtual time pass until the condition holds.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(ms(10)).await;
        }
    };
    tokio::time::timeout(ms(60_000), waiting)
        .await
        .expect("the condition never held");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_releases_the_network() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.slow("n2", ms(5_000));
    {
        let scenario = kill_all();
        let running = bench.run(&scenario);
        tokio::select! {
            report = running => panic!("not cancelled: {report:?}"),
            () = until(|| bench.lab.held()) => {}
        }
    }
    until(|| !bench.lab.held()).await;
    until(|| bench.journal.open().unwrap().is_empty()).await;
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_is_continued_at_the_end_of_the_method() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(5000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.faults[0].targets[0].fate, Fate::Stopped);
    let deeds = bench.lab.deeds();
    let place = |what: &str| {
        deeds
            .iter()
            .position(|deed| deed.starts_with(what))
            .unwrap()
    };
    assert!(
        place("record SIGSTOP") < place("fire n1 Sigstop"),
        "{deeds:?}"
    );
    assert!(
        place("fire n1 Sigstop") < place("fire n1 Sigcont"),
        "{deeds:?}"
    );
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((5.0..5.4).contains(&seconds), "{seconds}");
    assert!(!bench.lab.is_stopped("n1", UNIT));
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_continues_what_it_has_stopped() {
    let bench = Bench::new(&["n1"]);
    let scenario = scenario(vec![
        kill_on("n1", Pick::All, Signal::Sigstop),
        wait(ms(600_000)),
    ]);
    tokio::select! {
        report = bench.run(&scenario) => panic!("not cancelled: {report:?}"),
        () = until(|| bench.lab.is_stopped("n1", UNIT)) => {}
    }
    until(|| !bench.lab.is_stopped("n1", UNIT)).await;
    until(|| bench.journal.open().unwrap().is_empty()).await;
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_step_may_continue_what_an_earlier_one_stopped() {
    let bench = Bench::new(&["n1"]);
    let method = vec![
        kill_on("n1", Pick::All, Signal::Sigstop),
        wait(ms(2000)),
        kill_on("all", Pick::All, Signal::Sigcont),
        wait(ms(10_000)),
    ];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.faults[1].targets[0].fate, Fate::Continued);
    assert!(report.recovery.unwrap().seconds.unwrap() < 1.0);
    let continued = bench
        .lab
        .deeds()
        .iter()
        .filter(|deed| *deed == "fire n1 Sigcont")
        .count();
    assert_eq!(continued, 1, "not healed a second time");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn continuing_what_is_not_stopped_is_no_effect() {
    let bench = Bench::new(&["n1"]);
    let report = bench
        .run(&scenario(vec![kill_on("n1", Pick::All, Signal::Sigcont)]))
        .await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("is not stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_stop_is_no_effect() {
    let bench = Bench::new(&["n1"]);
    bench.lab.change("n1", UNIT, |unit| unit.stops = false);
    let report = bench
        .run(&scenario(vec![kill_on("n1", Pick::All, Signal::Sigstop)]))
        .await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("did not stop"));
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_continued_is_said_and_stays_in_the_journal() {
    let bench = Bench::new(&["n1"]);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(1000))];
    bench.lab.fail("fire n1 Sigcont", 3);
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Aborted);
    assert!(report.reason.unwrap().contains("could not be undone"));
    assert_eq!(
        report.hint.as_deref(),
        Some("repeat it with `labctl chaos heal`")
    );
    assert_eq!(bench.journal.open().unwrap().len(), 1);
    assert!(bench.lab.is_stopped("n1", UNIT));

    // What the next supervisor does: nothing before the expiry, everything after it, and nothing more when repeated.
    let lease = &bench.journal.open().unwrap()[0];
    let early = heal(
        &*bench.journal,
        &*bench.lab,
        Some(lease.expires_unix_ms - 1),
    )
    .await
    .unwrap();
    assert_eq!(early.healed, [""; 0]);
    let late = heal(&*bench.journal, &*bench.lab, Some(lease.expires_unix_ms))
        .await
        .unwrap();
    assert_eq!(late.healed, ["SIGSTOP to consul.service on n1"]);
    assert!(!bench.lab.is_stopped("n1", UNIT));
    assert_eq!(
        heal(&*bench.journal, &*bench.lab, None)
            .await
            .unwrap()
            .healed,
        [""; 0]
    );
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn sigterm_is_judged_by_the_next_main_process() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = || scenario(vec![kill_on("all", Pick::All, Signal::Sigterm)]);
    let report = bench.run(&method()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert!(
        report.faults[0]
            .targets
            .iter()
            .all(|t| t.fate == Fate::Died)
    );

    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.change("n2", UNIT, |unit| unit.obeys = false);
    let report = bench.run(&method()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(
        report
            .reason
            .unwrap()
            .contains("1 of 2 processes hit; consul.service on n2: still has")
    );
}

#[tokio::test(start_paused = true)]
async fn recovery_during_a_later_wait_counts() {
    let bench = Bench::new(&["n1"]);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigkill), wait(ms(60_000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert!(report.recovery.unwrap().seconds.unwrap() < 2.0);
}

#[tokio::test(start_paused = true)]
async fn recovery_that_comes_too_late_fails_though_the_method_takes_longer() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::AfterUnits(ms(15_000)));
    let method = vec![kill_on("n1", Pick::All, Signal::Sigkill), wait(ms(60_000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Failed);
    let reason = report.reason.unwrap();
    assert!(
        reason.starts_with("steady again 6.")
            && reason.ends_with("later than the 10s that are allowed"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_kill_starts_the_recovery_again() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = vec![
        kill_on("n1", Pick::All, Signal::Sigkill),
        wait(ms(6000)),
        kill_on("n1", Pick::All, Signal::Sigkill),
    ];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.faults.len(), 2);
    assert_ne!(
        report.faults[0].targets[0].old_pid,
        report.faults[1].targets[0].old_pid
    );
    let told = report
        .timeline
        .iter()
        .filter(|e| matches!(e.what, What::Recovered { .. }));
    assert_eq!(told.count(), 2);
    assert!(report.recovery.unwrap().seconds.unwrap() < 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides_who_is_hit() {
    let mut hit = Vec::new();
    for seed in [7, 7, 8, 9, 10] {
        let bench = Bench::new(&["n1", "n2", "n3", "n4", "n5"]);
        let options = Options {
            seed,
            ..Options::default()
        };
        let scenario = scenario(vec![kill_on("all", Pick::Minority, Signal::Sigkill)]);
        let report = bench.run_with(&scenario, &options).await;
        assert_eq!(report.faults[0].picked.len(), 2);
        assert!(report.repeat.ends_with(&format!("--seed {seed}")));
        hit.push(report.faults[0].picked.clone());
    }
    assert_eq!(hit[0], hit[1]);
    assert!(hit[2..].iter().any(|other| *other != hit[0]));
}

/// A run with everything in it.
async fn rich() -> Report {
    let bench = Bench::new(&["n1", "n2", "n3"]);
    bench.lab.serve(Service::AfterUnits(ms(30_000)));
    let scenario = scenario(vec![
        kill_on("all", Pick::Majority, Signal::Sigkill),
        wait(ms(2500)),
    ]);
    let command = "labctl scenario run scenarios/kill_consul.yml".to_owned();
    let options = Options {
        seed: 42,
        command,
        ..Options::default()
    };
    let mut report = bench.run_with(&scenario, &options).await;
    report.started_unix_ms = 0;
    report
}

#[tokio::test(start_paused = true)]
async fn the_json_is_stable_and_reads_back() {
    let report = rich().await;
    let json = serde_json::to_string_pretty(&report).unwrap();
    insta::assert_snapshot!("report_json", json);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[tokio::test(start_paused = true)]
async fn the_text_is_for_people() {
    let mut report = rich().await;
    insta::assert_snapshot!("report_text_failed", render(&report, false));
    let coloured = render(&report, true);
    assert!(coloured.contains("\x1b[31mfailed\x1b[0m"));

    let bench = Bench::new(&["n1"]);
    report = bench.run(&kill_all()).await;
    let text = render(&report, false);
    assert!(!text.contains('\x1b'));
    insta::assert_snapshot!("report_text_passed", text);
}
