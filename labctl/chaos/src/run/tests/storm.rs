//! Many random labs, scenarios, failures and cancellations, all derived from seeds: invariants that must hold in every
//! run.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

fn bench(dice: &mut Dice) -> Bench {
    let nodes = &NODES[..1 + dice.below(5) as usize];
    let bench = Bench::new(nodes);
    for node in nodes {
        bench.lab.change(node, UNIT, |unit| {
            unit.dies = !dice.one_in(20);
            unit.obeys = !dice.one_in(10);
            unit.stops = !dice.one_in(20);
            unit.keeps_pid = dice.one_in(30);
            unit.comes_back_after = (!dice.one_in(15)).then(|| ms(dice.below(9000)));
        });
        if dice.one_in(10) {
            bench.lab.slow(node, ms(dice.below(15_000)));
        }
    }
    bench.lab.serve(match dice.below(8) {
        0 => Service::Blind,
        1 => Service::Flaps(ms(300 + dice.below(3000)), ms(dice.below(9000))),
        _ => Service::AfterUnits(ms(dice.below(8000))),
    });
    let deeds = ["arm", "hold", "fire", "release", "record", "healed", "fire n1 Sigcont"];
    for deed in deeds {
        if dice.one_in(12) {
            bench.lab.fail(deed, 1 + dice.below(4) as u32);
        }
    }
    bench
}

fn method(dice: &mut Dice) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let signal = match dice.below(8) {
            0..=3 => Signal::Sigkill,
            4 => Signal::Sigterm,
            5 | 6 => Signal::Sigstop,
            _ => Signal::Sigcont,
        };
        let pick = match dice.below(6) {
            0 => Pick::One,
            1 => Pick::Minority,
            2 => Pick::Majority,
            _ => Pick::All,
        };
        steps.push(kill_on("all", pick, signal));
        steps.push(wait(ms(dice.below(12_000))));
    }
    steps
}

/// Only healing fires while the network is not held.
fn fired_only_while_held(deeds: &[String]) {
    let mut held = false;
    for deed in deeds.iter().filter(|deed| !deed.contains("failed")) {
        match deed.split(' ').next() {
            Some("hold") => held = true,
            Some("release") => held = false,
            Some("fire") => assert!(held || deed.ends_with("Sigcont"), "{deed} in {deeds:#?}"),
            _ => {}
        }
    }
}

fn a_pass_is_a_pass(report: &Report, scenario: &Scenario) {
    let kills = scenario.method.iter().filter(|step| matches!(step, Step::Kill(_))).count();
    assert_eq!(report.faults.len(), kills);
    let allowed = report.recovery.as_ref().unwrap();
    assert!(allowed.seconds.is_some());
    assert_eq!(allowed.complaints, [""; 0]);
    assert!(report.probes.iter().all(|probe| probe.holds && probe.asked > 0));
    for fault in &report.faults {
        assert_eq!(fault.no_effect, None);
        let fault: KillDetails = fault.details().unwrap();
        assert!(!fault.targets.is_empty() && fault.held.is_some() && fault.skew.is_some());
        for target in &fault.targets {
            match fault.signal.as_str() {
                "SIGKILL" | "SIGTERM" => {
                    assert_eq!(target.fate, Fate::Died);
                    assert!(target.new_pid.is_some_and(|pid| pid != target.old_pid && pid != 0));
                    assert!(target.back_after_ms.is_some());
                }
                "SIGSTOP" => assert_eq!(target.fate, Fate::Stopped),
                _ => assert_eq!(target.fate, Fate::Continued),
            }
        }
    }
}

/// One run of the setup that the seed describes. Returns its report without wall-clock values, or `None` if it was cancelled.
async fn storm(seed: u64) -> Option<Report> {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let bench = bench(&mut dice);
    let scenario = scenario(method(&mut dice));
    let options = Options { seed, steady_limit: ms(20_000), ..Options::default() };
    let cancel = dice.one_in(3).then(|| ms(dice.below(30_000)));
    let report = tokio::select! {
        report = bench.run_with(&scenario, &options) => Some(report),
        () = tokio::time::sleep(cancel.unwrap_or(Duration::MAX)) => None,
    };
    fired_only_while_held(&bench.lab.deeds());
    // Gives a cancelled run time to undo in the background; what could not be undone is left to `heal`.
    tokio::time::sleep(ms(60_000)).await;
    for _ in 0..20 {
        heal(&*bench.journal, &*bench.lab, None).await.unwrap();
    }
    bench.nothing_left();
    for node in bench.groups["all"].iter() {
        assert!(!bench.lab.is_stopped(node, UNIT), "{node} is still stopped");
    }
    let mut report = report?;
    report.started_unix_ms = 0;
    assert!(!render(&report, true).is_empty());
    if report.verdict == Verdict::Passed {
        a_pass_is_a_pass(&report, &scenario);
    } else {
        assert!(report.reason.as_ref().is_some_and(|reason| !reason.is_empty()));
    }
    Some(report)
}

#[tokio::test(start_paused = true)]
async fn in_every_weather() {
    let mut verdicts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..400 {
        let verdict = storm(seed).await.map_or("cancelled", |report| report.verdict.words());
        *verdicts.entry(verdict).or_default() += 1;
    }
    // The test is meaningful only if all kinds of outcomes occur.
    for kind in ["passed", "failed", "no effect", "aborted", "cancelled"] {
        assert!(verdicts.get(kind).is_some_and(|n| *n >= 10), "{kind}: {verdicts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    for seed in 0..30 {
        assert_eq!(storm(seed).await, storm(seed).await, "seed {seed}");
    }
}
