//! Stopped processes and their leases.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stopped_process_is_continued_at_the_end_of_the_method() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(5000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(targets(&report.faults[0])[0].fate, Fate::Stopped);
    let deeds = bench.lab.deeds();
    let place = |what: &str| deeds.iter().position(|deed| deed.starts_with(what)).unwrap();
    assert!(place("record SIGSTOP") < place("fire n1 Sigstop"), "{deeds:?}");
    assert!(place("fire n1 Sigstop") < place("fire n1 Sigcont"), "{deeds:?}");
    let seconds = report.recovery.unwrap().seconds.unwrap();
    assert!((5.0..5.4).contains(&seconds), "{seconds}");
    assert!(!bench.lab.is_stopped("n1", UNIT));
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_steady_while_a_process_is_stopped() {
    let bench = Bench::new(&["n1"]);
    bench.lab.serve(Service::Blind);
    let method = vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(8000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let recovered = report.timeline.iter().position(|e| matches!(e.what, What::Recovered { .. }));
    let healed = report.timeline.iter().position(|e| matches!(e.what, What::Healed { .. }));
    assert!(healed.unwrap() < recovered.unwrap(), "{:#?}", report.timeline);
    assert!(report.recovery.unwrap().seconds.unwrap() >= 8.0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_continues_what_it_has_stopped() {
    let bench = Bench::new(&["n1"]);
    let scenario = scenario(vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(600_000))]);
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
    let method =
        vec![kill_on("n1", Pick::All, Signal::Sigstop), wait(ms(2000)), kill_on("all", Pick::All, Signal::Sigcont), wait(ms(10_000))];
    let report = bench.run(&scenario(method)).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(targets(&report.faults[1])[0].fate, Fate::Continued);
    assert!(report.recovery.unwrap().seconds.unwrap() < 1.0);
    let continued = bench.lab.deeds().iter().filter(|deed| *deed == "fire n1 Sigcont").count();
    assert_eq!(continued, 1, "not healed a second time");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn continuing_what_is_not_stopped_is_no_effect() {
    let bench = Bench::new(&["n1"]);
    let report = bench.run(&scenario(vec![kill_on("n1", Pick::All, Signal::Sigcont)])).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("is not stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_stop_is_no_effect() {
    let bench = Bench::new(&["n1"]);
    bench.lab.change("n1", UNIT, |unit| unit.stops = false);
    let report = bench.run(&scenario(vec![kill_on("n1", Pick::All, Signal::Sigstop)])).await;
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
    assert_eq!(report.hint.as_deref(), Some("retry with `labctl scenario heal`"));
    assert_eq!(bench.journal.open().unwrap().len(), 1);
    assert!(bench.lab.is_stopped("n1", UNIT));

    // The next supervisor undoes nothing before the expiry, everything after it, and nothing more when repeated.
    let expiry = bench.journal.open().unwrap()[0].expires_unix_ms;
    let early = heal(&*bench.journal, &*bench.lab, Some(&|lease| lease.expires_unix_ms < expiry)).await.unwrap();
    assert_eq!(early.healed, [""; 0]);
    let late = heal(&*bench.journal, &*bench.lab, Some(&|lease| lease.expires_unix_ms <= expiry)).await.unwrap();
    assert_eq!(late.healed, ["SIGSTOP to consul.service on n1"]);
    assert!(!bench.lab.is_stopped("n1", UNIT));
    assert_eq!(heal(&*bench.journal, &*bench.lab, None).await.unwrap().healed, [""; 0]);
    bench.nothing_left();
}
