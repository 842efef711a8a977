//! A report as text. Times are in seconds relative to the first shot, `+` after it and `-` before; relative to the
//! run's start if no shot was fired.

use crate::event::What;
use crate::fault::{FaultReport, registry};
use crate::observe::ProbeReport;
use crate::page::{Colour, Page};
use crate::report::Report;
use crate::verdict::Verdict;

/// Limit on the windows of one probe that are listed individually.
const MOST_WINDOWS: usize = 5;

/// The report as tables and a timeline, ending with a newline. `colour` allows ANSI colours (SGR).
pub fn render(report: &Report, colour: bool) -> String {
    let mut page = Page { text: String::new(), colour, zero_ms: zero(report) };
    page.header(report);
    for fault in &report.faults {
        page.fault(fault);
    }
    page.probes(report);
    page.timeline(report);
    if report.verdict != Verdict::Passed {
        page.line(format!("\nrepeat with: {}", report.repeat));
    }
    page.text
}

/// The first shot's time in milliseconds since the run's start.
fn zero(report: &Report) -> u64 {
    report.faults.iter().find_map(|fault| fault.injected_ms).unwrap_or(0)
}

impl Page {
    fn header(&mut self, report: &Report) {
        let name = self.paint(Colour::Bold, &report.scenario);
        match &report.description {
            Some(description) => self.line(format!("{name}: {description}")),
            None => self.line(name),
        }
        let colour = if report.verdict == Verdict::Passed { Colour::Good } else { Colour::Bad };
        let verdict = self.paint(colour, report.verdict.words());
        let recovery = report.recovery.as_ref();
        let words = match (&report.reason, recovery.and_then(|r| r.seconds.map(|s| (s, r.allowed_seconds)))) {
            (Some(reason), _) => format!(": {reason}"),
            (None, Some((seconds, allowed))) => {
                format!(": steady again {seconds:.2} s after the last shot ({allowed:.0} s allowed)")
            }
            (None, None) => String::new(),
        };
        self.line(format!("  verdict  {verdict}{words}"));
        if let Some(hint) = &report.hint {
            self.line(format!("  hint     {hint}"));
        }
        self.line(format!("  seed     {}", report.seed));
        let waited = report.before.waited_ms as f64 / 1e3;
        let steady = if report.before.steady { "steady" } else { "not steady" };
        if report.verdict != Verdict::Aborted || report.before.waited_ms > 0 {
            self.line(format!("  before   {steady} after {waited:.1} s"));
        }
    }

    fn fault(&mut self, fault: &FaultReport) {
        let (picked, candidates) = (fault.picked.len(), fault.candidates.len());
        let title = self.paint(Colour::Bold, &fault.text);
        let picked = match picked == candidates {
            true => String::new(),
            false => format!(" (picked {picked} of {candidates}: {})", fault.picked.join(", ")),
        };
        self.line(format!("\n{title}{picked}"));
        if let Some(reason) = &fault.no_effect {
            let label = self.paint(Colour::Bad, "no effect");
            self.line(format!("  {label}: {reason}"));
        }
        registry::show(fault, self);
    }

    fn probes(&mut self, report: &Report) {
        if report.probes.iter().all(|probe| probe.asked == 0) {
            return;
        }
        let title = self.paint(Colour::Bold, "probes");
        self.line(format!("\n{title}"));
        let seconds = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1e3));
        let head = ["probe", "asked", "failed", "detected", "recovered", "unavailable", "now"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(report.probes.iter().map(|probe| {
            [
                probe.name.clone(),
                probe.asked.to_string(),
                probe.failed.to_string(),
                seconds(probe.detected_after_ms),
                seconds(probe.recovered_after_ms),
                seconds(Some(probe.unavailable_ms)),
                if probe.holds { "holds" } else { "fails" }.to_owned(),
            ]
        }));
        self.table(&rows);
        for probe in report.probes.iter().filter(|probe| !probe.windows.is_empty()) {
            self.windows(probe);
        }
    }

    fn windows(&mut self, probe: &ProbeReport) {
        for window in probe.windows.iter().take(MOST_WINDOWS) {
            let from = self.at(window.from_ms);
            let to = window.to_ms.map_or("the end".to_owned(), |ms| self.at(ms));
            let last = match window.last == window.first {
                true => String::new(),
                false => format!("; last: {}", window.last),
            };
            self.line(format!("  {} down {from} to {to}: {}{last}", probe.name, window.first));
        }
        let more = probe.windows.len().saturating_sub(MOST_WINDOWS);
        if more > 0 {
            self.line(format!("  {} down {more} more times", probe.name));
        }
    }

    fn timeline(&mut self, report: &Report) {
        let title = self.paint(Colour::Bold, "timeline");
        self.line(format!("\n{title}"));
        for event in &report.timeline {
            let at = format!("{:>10}", self.at(event.at_ms));
            let at = self.paint(Colour::Faint, &at);
            let (colour, words) = words(&event.what);
            let words = match colour {
                Some(colour) => self.paint(colour, &words),
                None => words,
            };
            self.line(format!("{at}  {words}"));
        }
    }
}

/// An event, for display.
fn words(what: &What) -> (Option<Colour>, String) {
    match what {
        What::Started { seed, .. } => (None, format!("started with seed {seed}")),
        What::Probe { probe, holds: true, answer } => (Some(Colour::Good), format!("{probe} holds: {answer}")),
        What::Probe { probe, holds: false, answer } => (Some(Colour::Bad), format!("{probe} fails: {answer}")),
        What::Steady { .. } => (None, "steady state holds".to_owned()),
        What::Step { step, text } => (Some(Colour::Bold), format!("step {}: {text}", step + 1)),
        What::Shot { node, unit, pid, fate, .. } => (None, format!("{unit} on {node}, pid {pid}: {fate}")),
        What::Released { frames, dropped, held_ms } => {
            (None, format!("network released after {held_ms:.1} ms: {frames} frames held, {dropped} dropped"))
        }
        What::Back { node, unit, old_pid, new_pid, .. } => (None, format!("{unit} on {node} is back: pid {new_pid} (was {old_pid})")),
        What::Down { node, unit, state } => (Some(Colour::Bad), format!("{unit} on {node} is down again: {state}")),
        What::Mishap { node, what } => (Some(Colour::Bad), format!("{node}: {what}")),
        What::Healed { what } => (None, format!("healed: {what}")),
        What::NotHealed { what, error } => (Some(Colour::Bad), format!("not healed: {what}: {error}")),
        What::Recovered { after_ms } => {
            let seconds = *after_ms as f64 / 1e3;
            (Some(Colour::Good), format!("steady again since {seconds:.2} s after the last shot"))
        }
        What::Finished { verdict } => (None, format!("finished: {}", verdict.words())),
    }
}
