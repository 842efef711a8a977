//! The return to the steady state.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_killed_cluster_that_comes_back_passes() {
    let bench = Bench::new(&["n1", "n2", "n3"]);
    bench.lab.serve(Service::AfterUnits(ms(4000)));
    bench.lab.slow("n2", ms(50));
    let report = bench.run(&kill_all()).await;

    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let fault: KillDetails = report.faults[0].details().unwrap();
    assert!(fault.targets.iter().all(|t| t.fate == Fate::Died && t.new_pid == Some(t.old_pid + 1000)));
    assert!(fault.targets.iter().all(|t| t.latency_us == Some(800)));
    assert!(fault.targets.iter().all(|t| (1000..1300).contains(&t.back_after_ms.unwrap())));
    let skew = fault.skew.unwrap();
    assert_eq!((skew.spread_ms.round(), skew.within_ms.round()), (40.0, 50.0));
    let held = fault.held.unwrap();
    assert_eq!((held.frames, held.duration_ms.round()), (12, 50.0));
    // The last unit dies 50 ms after the shot, is back a second later, and the service needs four more seconds.
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
    assert_eq!(report.reason.as_deref(), Some("not steady again within 10s: web: n1:80 refuses the connection"));
    assert_eq!(report.recovery.as_ref().unwrap().seconds, None);
    assert_eq!(report.probes[0].windows[0].to_ms, None);
    let after = report.elapsed_ms - report.faults[0].injected_ms.unwrap();
    assert!((10_000..10_500).contains(&after), "{after}");
    assert_eq!(report.repeat, "labctl scenario run kill_consul --seed 0");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_flaps_is_steady_only_after_the_last_failure() {
    let bench = Bench::new(&["n1"]);
    // Alternates between good and bad every second, which is shorter than the settle time.
    bench.lab.serve(Service::Flaps(ms(1000), ms(5500)));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let web = &report.probes[0];
    assert_eq!(web.windows.len(), 4, "{:#?}", web.windows);
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((6.5..6.8).contains(&seconds), "{seconds}");
    let told = report.timeline.iter().filter(|e| matches!(e.what, What::Recovered { .. }));
    assert_eq!(told.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn steady_because_nothing_has_noticed_does_not_count() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::Blind);
    bench.lab.change("n2", UNIT, |unit| unit.comes_back_after = Some(ms(7000)));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed);
    assert_eq!(report.probes[0].windows, []);
    assert_eq!(report.probes[0].detected_after_ms, None);
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((7.0..7.5).contains(&seconds), "only once n2 is back: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_does_not_come_back_fails_even_if_no_probe_notices() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::Blind);
    bench.lab.change("n2", UNIT, |unit| unit.comes_back_after = None);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.reason.as_deref(), Some("not steady again within 10s: consul.service on n2 did not come back: failed/failed"));
}

#[tokio::test(start_paused = true)]
async fn a_run_may_be_a_task_of_its_own() {
    let bench = Bench::new(&["n1"]);
    let (lab, journal, groups) = (bench.lab.clone(), bench.journal.clone(), bench.groups.clone());
    let task = tokio::spawn(async move { run(&kill_all(), &groups, lab, journal, &Options::default(), |_| {}).await });
    assert_eq!(task.await.unwrap().verdict, Verdict::Passed);
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_crashes_again_is_not_back() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::Blind);
    bench.lab.change("n1", UNIT, |unit| {
        unit.comes_back_after = Some(ms(4000));
        unit.crashes_after = Some(ms(1000));
    });
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert!(report.timeline.iter().any(|e| matches!(e.what, What::Down { .. })));
    // Back at 4 s, down at 5 s, back for good at 9 s.
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((9.0..9.5).contains(&seconds), "{seconds}");
    assert_eq!(targets(&report.faults[0])[0].back_after_ms.map(|ms| ms / 1000), Some(4));
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
    assert!(reason.starts_with("steady again 6.") && reason.ends_with("later than the allowed 10s"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_second_kill_starts_the_recovery_again() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigkill), wait(ms(6000)), kill_on("n1", Pick::All, Signal::Sigkill)];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.faults.len(), 2);
    assert_ne!(targets(&report.faults[0])[0].old_pid, targets(&report.faults[1])[0].old_pid);
    let told = report.timeline.iter().filter(|e| matches!(e.what, What::Recovered { .. }));
    assert_eq!(told.count(), 2);
    assert!(report.recovery.unwrap().seconds.unwrap() < 2.0);
}
