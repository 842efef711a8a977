//! The semantic checks of a scenario: one check per probe, existing names, sensible times.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Command, Probe, ProbeFile, Scenario, ScenarioFile, Step};
use crate::check::{list, nearest};
use crate::lab::Lab;
use crate::names;
use crate::report::Report;

pub(super) fn scenario(plain: ScenarioFile, lab: Option<&Lab>, report: &mut Report) -> Scenario {
    let known = lab.map(Known::of);
    if !names::is_stem(&plain.name) {
        let hint = "use letters, digits, hyphens and underscores: reports are named after it";
        report.add("/name", format!("`{}` is not a valid scenario name", plain.name), hint);
    }
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut steady_state = Vec::new();
    for (index, written) in plain.steady_state.into_iter().enumerate() {
        let at = format!("/steady_state/{index}");
        if let Some(other) = taken.insert(written.name.clone(), index) {
            let reason =
                format!("`{}` is already the name of the probe on line {}", written.name, report.line(&format!("/steady_state/{other}")));
            report.add(&format!("{at}/name"), reason, "give every probe its own name");
        }
        steady_state.extend(probe(written, &at, known.as_ref(), report));
    }
    for (index, step) in plain.method.iter().enumerate() {
        self::step(step, &format!("/method/{index}"), known.as_ref(), report);
    }
    if plain.recover_within.0.is_zero() {
        report.add("/recover_within", "the time is zero", "write a time such as `120s`");
    }
    Scenario { name: plain.name, description: plain.description, steady_state, method: plain.method, recover_within: plain.recover_within }
}

/// What the lab has.
pub(super) struct Known {
    nodes: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Known {
    /// Adds each of these names that is neither a node's nor a group's; `beside` are names that are good here as well.
    pub(super) fn check_names(&self, names: &[String], beside: &[&str], at: &str, report: &mut Report) {
        for (position, name) in names.iter().enumerate() {
            if !self.nodes.contains(name) && !self.groups.contains(name) && !beside.contains(&name.as_str()) {
                let all = self.groups.iter().chain(&self.nodes);
                report.add(&format!("{at}/{position}"), format!("the lab has no node or group `{name}`"), suggestion(name, all));
            }
        }
    }

    /// Whether it is a node's name.
    pub(super) fn is_node(&self, name: &str) -> bool {
        self.nodes.contains(name)
    }

    fn of(lab: &Lab) -> Self {
        let nodes = lab.nodes.iter().map(|node| node.name.to_string()).collect();
        Self { nodes, groups: lab.groups().into_keys().collect() }
    }
}

fn probe(written: ProbeFile, at: &str, known: Option<&Known>, report: &mut Report) -> Option<Probe> {
    let ProbeFile { name, http, exec, tcp, consul, nomad } = written;
    let mut checks: Vec<(&str, Check)> = Vec::new();
    checks.extend(http.map(|check| ("http", Check::Http(check))));
    checks.extend(exec.map(|check| ("exec", Check::Exec(check))));
    checks.extend(tcp.map(|check| ("tcp", Check::Tcp(check))));
    checks.extend(consul.map(|check| ("consul", Check::Consul(check))));
    checks.extend(nomad.map(|check| ("nomad", Check::Nomad(check))));
    for (key, check) in &checks {
        self::check(check, &format!("{at}/{key}"), known, report);
    }
    let hint = "give exactly one of `http`, `exec`, `tcp`, `consul`, `nomad`";
    match checks.len() {
        1 => checks.pop().map(|(_, check)| Probe { name, check }),
        0 => {
            // A check that was dropped because of its own fault is still in the file.
            let there = report.keys(at).iter().any(|key| *key != "name");
            if !there {
                report.add(at, format!("the probe `{name}` has no check"), hint);
            }
            None
        }
        _ => {
            let keys = list(checks.iter().map(|(key, _)| *key));
            report.add(at, format!("the probe `{name}` has several checks: {keys}"), hint);
            None
        }
    }
}

fn check(check: &Check, at: &str, known: Option<&Known>, report: &mut Report) {
    let node = match check {
        Check::Http(http) => {
            if http.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                report.add(&format!("{at}/path"), "the path does not begin with `/`", "write it like `/fib?n=20`");
            }
            &http.node
        }
        Check::Exec(exec) => {
            let nothing = match &exec.command {
                Command::Shell(line) => line.trim().is_empty(),
                Command::Argv(argv) => argv.is_empty(),
            };
            if nothing {
                report.add(&format!("{at}/command"), "the command is empty", "write a shell line, or a list of arguments");
            }
            &exec.node
        }
        Check::Tcp(tcp) => &tcp.node,
        Check::Consul(consul) => &consul.node,
        Check::Nomad(nomad) => &nomad.node,
    };
    let Some(known) = known else { return };
    if known.nodes.contains(node) {
        return;
    }
    let reason = if known.groups.contains(node) {
        format!("`{node}` is a group; a probe asks one node")
    } else {
        format!("the lab has no node `{node}`")
    };
    report.add(&format!("{at}/node"), reason, suggestion(node, known.nodes.iter()));
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    match nearest(name, known.clone().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", list(known.map(String::as_str))),
    }
}

/// What a step says, checked against the lab. Each kind of step has this in its own file.
pub(super) trait StepCheck {
    /// Adds what is wrong; `at` is the step's place in the file.
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report);
}

fn step(step: &Step, at: &str, known: Option<&Known>, report: &mut Report) {
    match step {
        Step::Kill(kill) => kill.check(&format!("{at}/kill"), known, report),
        Step::Cut(cut) => cut.check(&format!("{at}/cut"), known, report),
        Step::Delay(delay) => delay.check(&format!("{at}/delay"), known, report),
        Step::Loss(loss) => loss.check(&format!("{at}/loss"), known, report),
        Step::Wait(duration) => {
            if duration.0.is_zero() {
                report.add(&format!("{at}/wait"), "the time is zero", "write a time such as `5s`, or remove the step");
            }
        }
    }
}
