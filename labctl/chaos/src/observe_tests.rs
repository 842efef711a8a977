use super::*;
use crate::probe::Answer;

struct Script {
    start: Instant,
    observer: Observer,
}

impl Script {
    fn new(probes: usize) -> Self {
        let start = Instant::now();
        let names = (0..probes).map(|i| format!("p{i}"));
        let mut observer = Observer::new(start, names);
        observer.record();
        Self { start, observer }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn sample(&mut self, probe: usize, from: u64, to: u64, holds: bool) -> bool {
        let words = format!("{holds} at {to}");
        let answer = Answer { holds, words };
        let (started, ended) = (self.at(from), self.at(to));
        self.observer.take(Sample { probe, started, ended, answer })
    }

    fn steady(&self) -> Option<u64> {
        let since = self.observer.steady_since()?;
        Some((since - self.start).as_millis() as u64)
    }

    fn report(&self, now: u64) -> ProbeReport {
        self.observer.reports(self.at(now)).remove(0)
    }
}

#[test]
fn a_window_lasts_from_the_first_bad_question_to_the_first_good_answer() {
    let mut script = Script::new(1);
    assert!(script.sample(0, 10, 20, true));
    script.observer.shot(script.at(100));
    assert!(script.sample(0, 210, 250, false));
    assert!(!script.sample(0, 410, 450, false));
    assert!(script.sample(0, 610, 620, true));
    let report = script.report(1000);
    let window = &report.windows[0];
    assert_eq!((window.from_ms, window.to_ms, window.failures), (210, Some(620), 2));
    assert_eq!((window.first.as_str(), window.last.as_str()), ("false at 250", "false at 450"));
    assert_eq!((report.asked, report.failed, report.unavailable_ms), (4, 2, 410));
    assert_eq!(report.detected_after_ms, Some(150));
    assert_eq!(report.recovered_after_ms, Some(520));
}

#[test]
fn an_outage_is_not_older_than_its_shot() {
    let mut script = Script::new(1);
    script.observer.shot(script.at(100));
    script.sample(0, 90, 150, false);
    let report = script.report(500);
    assert_eq!(report.windows[0].from_ms, 100);
    assert_eq!(report.detected_after_ms, Some(50));
    assert_eq!((report.recovered_after_ms, report.unavailable_ms), (None, 400));
}

#[test]
fn a_failure_before_the_shot_detects_nothing() {
    let mut script = Script::new(1);
    script.sample(0, 10, 20, false);
    script.observer.shot(script.at(100));
    assert_eq!(script.report(200).detected_after_ms, None);
}

#[test]
fn only_samples_behind_the_barrier_count() {
    let mut script = Script::new(2);
    script.sample(0, 10, 20, true);
    script.sample(1, 10, 30, true);
    assert_eq!(script.steady(), Some(30));
    script.observer.shot(script.at(100));
    assert_eq!(script.steady(), None);
    // Started before the barrier, answered after it: may reflect the old state.
    script.sample(0, 190, 210, true);
    script.observer.set_barrier(Some(script.at(200)));
    assert_eq!(script.steady(), None);
    script.sample(0, 195, 215, true);
    script.sample(1, 200, 215, true);
    assert_eq!(script.steady(), None);
    script.sample(0, 220, 230, true);
    script.sample(1, 220, 240, true);
    assert_eq!(script.steady(), Some(240));
}

#[test]
fn a_barrier_that_comes_late_counts_the_last_sample() {
    let mut script = Script::new(1);
    script.observer.shot(script.at(100));
    script.sample(0, 150, 160, true);
    script.observer.set_barrier(Some(script.at(140)));
    assert_eq!(script.steady(), Some(160));
}

#[test]
fn one_failure_ends_the_steady_state() {
    let mut script = Script::new(2);
    script.sample(0, 10, 20, true);
    script.sample(1, 10, 20, true);
    script.sample(0, 30, 40, false);
    assert_eq!(script.steady(), None);
    script.sample(0, 50, 60, true);
    assert_eq!(script.steady(), Some(60));
    assert_eq!(script.observer.complaints(), [""; 0]);
}

#[test]
fn steady_is_settled_when_every_probe_has_said_so_long_enough() {
    let mut script = Script::new(2);
    let settle = Duration::from_millis(100);
    script.sample(0, 10, 20, true);
    script.sample(1, 10, 20, true);
    script.sample(0, 120, 130, true);
    assert_eq!(script.observer.settled(settle), None, "the second was last heard at 20");
    script.sample(1, 120, 130, true);
    assert_eq!(script.observer.settled(settle), Some(script.at(20)));
}

#[test]
fn nothing_is_reported_of_the_time_before() {
    let start = Instant::now();
    let mut script = Script { start, observer: Observer::new(start, ["p".to_owned()].into_iter()) };
    script.sample(0, 10, 20, false);
    script.observer.record();
    script.sample(0, 30, 40, true);
    let report = script.report(100);
    assert_eq!((report.asked, report.failed, report.windows.len()), (1, 0, 0));
}
