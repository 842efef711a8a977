//! Faults that have no effect.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_unit_that_does_not_die_is_no_effect() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.change("n2", UNIT, |unit| unit.dies = false);
    let report = bench.run(&kill_all()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    let reason = report.reason.unwrap();
    assert!(reason.contains("1 of 2 processes hit; consul.service on n2: did not die (active/running)"), "{reason}");
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
             consul.service on n2: has no main process (inactive/dead); no signal was sent"
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
    assert!(report.reason.unwrap().contains("still has the same main process"));
    assert_eq!(targets(&report.faults[0])[0].fate, Fate::Survived);
}

#[tokio::test(start_paused = true)]
async fn a_minority_of_one_is_nobody() {
    let bench = Bench::new(&["n1"]);
    let report = bench.run(&scenario(vec![kill_on("n1", Pick::Minority, Signal::Sigkill)])).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("none of 1 nodes"));
    assert_eq!(bench.lab.deeds(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn sigterm_is_judged_by_the_next_main_process() {
    let bench = Bench::new(&["n1", "n2"]);
    let method = || scenario(vec![kill_on("all", Pick::All, Signal::Sigterm)]);
    let report = bench.run(&method()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert!(targets(&report.faults[0]).iter().all(|t| t.fate == Fate::Died));

    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.change("n2", UNIT, |unit| unit.obeys = false);
    let report = bench.run(&method()).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert!(report.reason.unwrap().contains("1 of 2 processes hit; consul.service on n2: still has"));
}
