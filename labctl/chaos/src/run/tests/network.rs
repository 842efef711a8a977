//! Network faults and their leases.

use labctl_spec::duration;
use labctl_spec::network::{Edge, End};
use labctl_spec::scenario::{Between, CutStep, DelayStep, LossStep};

use super::*;
use crate::fault::network::NetworkDetails;
use crate::undo::Undo;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn cut(from: &[&str], to: &[&str], one_way: bool, lasts: Option<u64>) -> Step {
    let lasts = lasts.map(|time| duration::Duration(ms(time)));
    Step::Cut(CutStep { between: Between { from: names(from), to: names(to), one_way, lasts } })
}

fn edge(from: &str, to: &str) -> Edge {
    Edge { from: End::Node(from.parse().unwrap()), to: End::Node(to.parse().unwrap()) }
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_leased_and_mended_when_its_time_is_over() {
    let bench = Bench::new(&["n1", "n2", "n3"]);
    bench.lab.serve(Service::Blind);
    let scenario = scenario(vec![cut(&["n1"], &["n2", "n3"], false, Some(5000)), wait(ms(3000))]);
    let run = bench.run(&scenario);
    let look = async {
        until(|| !bench.lab.impairments().is_empty()).await;
        bench.lab.impairments()
    };
    let (report, impaired) = tokio::join!(run, look);
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(impaired[0].edges, [edge("n1", "n2"), edge("n1", "n3"), edge("n2", "n1"), edge("n3", "n1")]);
    assert!(impaired[0].impairment.cut);
    let what = "network cut between n1 and n2, n3";
    assert_eq!(
        bench.lab.deeds(),
        [format!("record {what}"), "impair 4 edges".to_owned(), "mend".to_owned(), format!("healed {what}")],
        "written down before anything is done"
    );
    let healed = report.timeline.iter().find(|event| matches!(&event.what, What::Healed { .. })).unwrap();
    let begun = report.faults[0].injected_ms.unwrap();
    assert_eq!(healed.at_ms - begun, 5000, "not only at the method's end");
    let details: NetworkDetails = report.faults[0].details().unwrap();
    assert_eq!(details.frames.unwrap().dropped, 40);
    assert_eq!(details.edges[0], "n1 -> n2");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn one_way_is_one_way_and_lasts_until_the_end() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.serve(Service::Blind);
    let lossy = LossStep { between: Between { from: names(&["n1"]), to: names(&["outside"]), one_way: true, lasts: None }, percent: 20.0 };
    let slow = DelayStep {
        between: Between { from: names(&["n1"]), to: names(&["n2"]), one_way: true, lasts: None },
        time: duration::Duration(ms(100)),
        jitter: Some(duration::Duration(ms(10))),
    };
    let scenario = scenario(vec![Step::Loss(lossy), Step::Delay(slow), wait(ms(3000))]);
    let look = async {
        until(|| bench.lab.impairments().len() == 2).await;
        bench.lab.impairments()
    };
    let (report, impaired) = tokio::join!(bench.run(&scenario), look);
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(impaired[0].edges, [Edge { to: End::Uplink, ..edge("n1", "n2") }]);
    assert_eq!((impaired[0].impairment.loss, impaired[1].impairment.delay), (0.2, ms(100)));
    assert_ne!(impaired[0].impairment.seed, impaired[1].impairment.seed);
    assert_eq!(report.faults[1].text, "delay of 100ms ± 10ms from n1 to n2");
    let text = render(&report, false);
    assert!(text.contains("edges: n1 -> outside\n  frames: 10 matched, 10 dropped, 0 delayed"), "{text}");
    assert!(report.recovery.unwrap().seconds.unwrap() >= 3.0, "nothing is steady while the network is impaired");
    bench.nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_no_frame_met_is_no_effect() {
    let bench = Bench::new(&["n1", "n2"]);
    bench.lab.be_quiet();
    bench.lab.serve(Service::Blind);
    let report = bench.run(&scenario(vec![cut(&["n1"], &["n2"], false, Some(1000))])).await;
    assert_eq!(report.verdict, Verdict::NoEffect);
    assert_eq!(report.reason.as_deref(), Some("network cut between n1 and n2: no frame tried to pass"));
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_anything_starts() {
    for (step, wrong) in [
        (cut(&["n1"], &["n9"], false, None), "`n9` is neither a group nor a node of the lab"),
        (cut(&["n1"], &["n1"], false, None), "there is no edge"),
    ] {
        let bench = Bench::new(&["n1", "n2"]);
        let report = bench.run(&scenario(vec![step])).await;
        assert_eq!(report.verdict, Verdict::Aborted);
        assert!(report.reason.as_ref().unwrap().contains(wrong), "{report:#?}");
        assert_eq!(bench.lab.deeds(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_mends_what_it_has_cut() {
    let bench = Bench::new(&["n1", "n2"]);
    let scenario = scenario(vec![cut(&["n1"], &["n2"], false, Some(600_000))]);
    tokio::select! {
        report = bench.run(&scenario) => panic!("not cancelled: {report:?}"),
        () = until(|| !bench.lab.impairments().is_empty()) => {}
    }
    until(|| bench.lab.impairments().is_empty()).await;
    until(|| bench.journal.open().unwrap().is_empty()).await;
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    let undo: Undo = serde_json::from_str(r#"{"continue": {"targets": [{"node": "n1", "units": ["a.service"]}]}}"#).unwrap();
    assert!(matches!(undo, Undo::Continue { .. }));
    assert_eq!(serde_json::from_str::<Undo>(r#""release_network""#).unwrap(), Undo::ReleaseNetwork);
}
