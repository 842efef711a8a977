//! Whole runs in virtual time, against a fake lab.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use labctl_spec::duration;
use labctl_spec::scenario::{Check, HttpCheck, KillStep, Pick, Probe, Scenario, Signal, Step};

use super::*;
use crate::fake::{FakeJournal, FakeLab, Service, ms};
use crate::fault::FaultReport;
use crate::fault::kill::{Fate, KillDetails, TargetReport};
use crate::lease::heal;
use crate::render;

mod effect;
mod network;
mod recovery;
mod stop;
mod storm;
mod told;
mod trouble;

const UNIT: &str = "consul.service";

fn http(name: &str) -> Probe {
    let check = HttpCheck { node: "n1".into(), port: 80, path: None, status: None, contains: None };
    Probe { name: name.into(), check: Check::Http(check) }
}

fn kill_on(on: &str, pick: Pick, signal: Signal) -> Step {
    Step::Kill(KillStep { units: vec![UNIT.into()], on: vec![on.into()], pick, signal })
}

fn wait(duration: Duration) -> Step {
    Step::Wait(duration::Duration(duration))
}

fn scenario(method: Vec<Step>) -> Scenario {
    Scenario {
        name: "kill_consul".into(),
        description: Some("Every Consul agent dies at once".into()),
        steady_state: vec![http("web")],
        method,
        recover_within: duration::Duration(ms(10_000)),
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
        Self { journal: FakeJournal::new(&lab), lab, groups: BTreeMap::from([("all".to_owned(), all)]), events: Mutex::default() }
    }

    async fn run(&self, scenario: &Scenario) -> Report {
        self.run_with(scenario, &Options::default()).await
    }

    async fn run_with(&self, scenario: &Scenario, options: &Options) -> Report {
        let events = |event| self.events.lock().unwrap().push(event);
        let report = run(scenario, &self.groups, self.lab.clone(), self.journal.clone(), options, events).await;
        assert_eq!(*self.events.lock().unwrap(), report.timeline, "what was told is what is reported");
        report
    }

    fn nothing_left(&self) {
        assert!(!self.lab.held(), "the network is held: {:?}", self.lab.deeds());
        assert_eq!(self.journal.open().unwrap(), [], "{:?}", self.lab.deeds());
    }
}

/// What was shot at.
fn targets(fault: &FaultReport) -> Vec<TargetReport> {
    fault.details::<KillDetails>().unwrap().targets
}

fn kill_all() -> Scenario {
    scenario(vec![kill_on("all", Pick::All, Signal::Sigkill)])
}

/// Lets virtual time pass until the condition holds.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(ms(10)).await;
        }
    };
    tokio::time::timeout(ms(60_000), waiting).await.expect("the condition never held");
}
