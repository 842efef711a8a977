//! Labs that are not steady, and components that fail.

use labctl_spec::scenario::TcpCheck;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_unsteady_lab_is_left_alone() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::Broken);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NotSteadyBefore);
    assert_eq!(report.reason.as_deref(), Some("still failing after 120s: web: n1:80 refuses the connection"));
    assert_eq!(report.before.complaints, ["web: n1:80 refuses the connection"]);
    assert_eq!(report.before.waited_ms, 120_000);
    assert_eq!(bench.lab.deeds(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_never_answered_ends_at_its_limit() {
    let bench = Bench::new(&["n1"]);
    let mut scenario = kill_all();
    let check = TcpCheck { node: "n1".into(), port: 22 };
    scenario.steady_state.push(Probe { name: "ssh".into(), check: Check::Tcp(check) });
    let report = bench.run(&scenario).await;
    assert_eq!(report.verdict, Verdict::NotSteadyBefore);
    assert_eq!(report.reason.as_deref(), Some("still failing after 120s: ssh: no answer within 3s"));
}

#[tokio::test(start_paused = true)]
async fn endless_durations_are_no_trap() {
    let bench = Bench::new(&["n1"]);
    let mut scenario = kill_all();
    scenario.recover_within = duration::Duration(Duration::MAX);
    scenario.method.push(wait(Duration::ZERO));
    assert_eq!(bench.run(&scenario).await.verdict, Verdict::Passed);

    let method = vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(Duration::MAX), wait(Duration::MAX)];
    let scenario = self::scenario(method);
    bench.events.lock().unwrap().clear();
    tokio::select! {
        report = bench.run(&scenario) => panic!("not cancelled: {report:?}"),
        () = until(|| bench.lab.is_stopped("n1", UNIT)) => {}
    }
    until(|| bench.journal.open().unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_anything_starts() {
    let bench = Bench::new(&["n1"]);
    let mut wrong = scenario(vec![kill_on("serves", Pick::All, Signal::Sigkill)]);
    let report = bench.run(&wrong).await;
    assert_eq!(report.verdict, Verdict::Aborted);
    assert_eq!(report.elapsed_ms, 0);
    assert_eq!(report.reason.as_deref(), Some("`serves` is neither a group nor a node of the lab"));
    assert!(report.hint.unwrap().contains("groups are: all"));

    wrong = kill_all();
    wrong.steady_state[0].check = Check::Tcp(TcpCheck { node: "nobody".into(), port: 22 });
    bench.events.lock().unwrap().clear();
    let report = bench.run(&wrong).await;
    assert!(report.reason.unwrap().contains("`nobody`, which is not a node"));

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
        assert!(report.reason.unwrap().contains("refused by the test"), "{deed}");
        let deeds = bench.lab.deeds();
        assert!(!deeds.iter().any(|d| d.starts_with(forbidden) && !d.contains("failed")), "{deeds:?}");
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
    assert!(report.reason.unwrap().contains("1 of 2 processes hit; consul.service on n2: fire n2"));
    assert_eq!(targets(&report.faults[0])[0].fate, Fate::Died);
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_under_fire_holds_the_network_no_longer_than_the_limit() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.slow("n2", ms(3_600_000));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("consul.service on n2: no answer within 10s"));
    assert_eq!(report.faults[0].details::<KillDetails>().unwrap().held.unwrap().duration_ms.round(), 10_000.0);
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
    assert_eq!(targets(&report.faults[0])[0].fate, Fate::Died, "what was killed is said");
    // The guard's own try, in the background.
    until(|| bench.journal.open().unwrap().is_empty()).await;
    bench.nothing_left();
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

/// No fault makes a kernel panic: a run in which one did has not passed, even if everything recovered in time.
#[tokio::test(start_paused = true)]
async fn a_kernel_that_panics_fails_a_run_that_would_have_passed() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.panics("n2", ms(2500));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.reason.as_deref(), Some("n2: its kernel has panicked"));
    assert!(report.hint.as_deref().unwrap_or_default().contains("--console"), "{:?}", report.hint);
    assert!(report.recovery.as_ref().is_some_and(|recovery| recovery.seconds.is_some()), "the rest is measured all the same");
    let told = report.timeline.iter().filter(|event| matches!(&event.what, What::Mishap { node, .. } if node == "n2")).count();
    assert_eq!(told, 1);
    assert!(render(&report, false).contains("n2: its kernel has panicked"));
    bench.nothing_left();
}

/// Other problems are reported too.
#[tokio::test(start_paused = true)]
async fn a_panic_stands_before_what_follows_from_it() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::Broken);
    bench.lab.panics("n1", ms(100));
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::Failed);
    let reason = report.reason.unwrap_or_default();
    assert!(reason.starts_with("n1: its kernel has panicked; still failing after 120s"), "{reason}");
}
