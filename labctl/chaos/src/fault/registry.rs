//! The table of all kinds of faults: which step each implements, and how its details are shown.

use labctl_spec::scenario::Step;

use super::kill::Kill;
use super::{Fault, FaultReport, kill, network};
use crate::page::Page;

/// The fault for a step; none if the step breaks nothing.
pub(crate) fn fault(step: &Step) -> Option<Box<dyn Fault>> {
    Some(match step.clone() {
        Step::Kill(step) => Box::new(Kill(step)),
        Step::Cut(step) => Box::new(network::cut(&step)),
        Step::Delay(step) => Box::new(network::delay(&step)),
        Step::Loss(step) => Box::new(network::loss(&step)),
        Step::Wait(_) => return None,
    })
}

/// How the details of a kind are shown.
type Show = fn(&FaultReport, &mut Page);

/// The kinds, by their names in reports.
const KINDS: &[(&str, Show)] = &[("kill", kill::show), ("cut", network::show), ("delay", network::show), ("loss", network::show)];

/// Shows the details that only this kind of fault has. The report may be from a later version: an unknown kind shows nothing.
pub(crate) fn show(report: &FaultReport, page: &mut Page) {
    if let Some((_, show)) = KINDS.iter().find(|(kind, _)| *kind == report.kind) {
        show(report, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_step_is_in_the_table() {
        let steps = [
            r#"{"kill": {"units": ["a.service"], "on": ["all"]}}"#,
            r#"{"cut": {"from": ["a"], "to": ["b"]}}"#,
            r#"{"delay": {"from": ["a"], "to": ["b"], "time": "1s"}}"#,
            r#"{"loss": {"from": ["a"], "to": ["b"], "percent": 1}}"#,
        ];
        let kinds = steps.map(|step| {
            let step: Step = serde_json::from_str(step).unwrap();
            fault(&step).unwrap().kind()
        });
        assert_eq!(kinds.to_vec(), KINDS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    }
}
