//! Seeds, and the reports of a run.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_seed_decides_who_is_hit() {
    let mut hit = Vec::new();
    for seed in [7, 7, 8, 9, 10] {
        let bench = Bench::new(&["n1", "n2", "n3", "n4", "n5"]);
        let options = Options { seed, ..Options::default() };
        let scenario = scenario(vec![kill_on("all", Pick::Minority, Signal::Sigkill)]);
        let report = bench.run_with(&scenario, &options).await;
        assert_eq!(report.faults[0].picked.len(), 2);
        assert!(report.repeat.ends_with(&format!("--seed {seed}")));
        hit.push(report.faults[0].picked.clone());
    }
    assert_eq!(hit[0], hit[1]);
    assert!(hit[2..].iter().any(|other| *other != hit[0]));
}

/// A run that exercises everything.
async fn rich() -> Report {
    let bench = Bench::new(&["n1", "n2", "n3"]);
    bench.lab.serve(Service::AfterUnits(ms(30_000)));
    let scenario = scenario(vec![kill_on("all", Pick::Majority, Signal::Sigkill), wait(ms(2500))]);
    let command = "labctl scenario run scenarios/kill_consul.yml".to_owned();
    let options = Options { seed: 42, command, ..Options::default() };
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
