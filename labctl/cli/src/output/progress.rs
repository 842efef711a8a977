//! Progress: one line per node and per task on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use labctl_lab::event::{Event, NodeState, RebootCause, Trouble};

use super::time::spell;

/// Bars on a terminal.
pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    started: Instant,
}

impl Bars {
    pub fn new() -> Self {
        Self { all: MultiProgress::new(), bars: BTreeMap::new(), started: Instant::now() }
    }

    fn bar(&mut self, name: &str) -> &ProgressBar {
        let all = &self.all;
        self.bars.entry(name.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::new_spinner().with_style(spinner()).with_prefix(name.to_owned()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        })
    }

    /// Prints a line above the bars.
    pub fn above(&self, line: &str) {
        // Fails only if standard error does.
        let _ = self.all.println(line);
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Node { node, state } => {
                let bar = self.bar(node.as_str()).clone();
                match state {
                    NodeState::Running | NodeState::Off | NodeState::Suspended => bar.finish_with_message(state.word()),
                    _ => match state.why() {
                        Some(why) => bar.finish_with_message(format!("{}: {why}", state.word())),
                        None => bar.set_message(state.word()),
                    },
                }
            }
            Event::Work { what, step, progress } => {
                let bar = self.bar(what).clone();
                match progress {
                    Some((done, total)) => {
                        bar.set_style(counted());
                        bar.set_length(*total);
                        bar.set_position(*done);
                    }
                    None => bar.set_style(spinner()),
                }
                bar.set_message(step.clone());
            }
            Event::Kernel { .. } | Event::Rebooted { .. } | Event::Synced { .. } | Event::Note { .. } | Event::Warning { .. } => {
                // Failing to write to a terminal is not a reason to fail.
                let _ = self.all.println(line(event).unwrap_or_default());
            }
        }
    }

    /// Leaves the final state on the screen.
    pub fn finish(self) {
        for bar in self.bars.values().filter(|bar| !bar.is_finished()) {
            bar.finish();
        }
        let _ = self.all.println(format!("({:.1} s)", self.started.elapsed().as_secs_f64()));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn spinner() -> ProgressStyle {
    style("{spinner:.cyan} {prefix:<16} {wide_msg} {elapsed:>4}")
}

fn counted() -> ProgressStyle {
    style("{spinner:.cyan} {prefix:<16} [{bar:24.cyan}] {binary_bytes}/{binary_total_bytes} {wide_msg} {elapsed:>4}")
}

/// The event as a plain line; `None` for events that only move a bar.
pub fn line(event: &Event) -> Option<String> {
    match event {
        Event::Node { node, state } => Some(match state.why() {
            Some(why) => format!("{node}: {}: {why}", state.word()),
            None => format!("{node}: {}", state.word()),
        }),
        Event::Work { what, step, progress: None } => Some(format!("{what}: {step}")),
        Event::Work { .. } => None,
        Event::Kernel { node, trouble, line } => Some(match trouble {
            Trouble::Panic => format!("warning: {node}: its kernel has panicked: {line}"),
            Trouble::Oops => format!("warning: {node}: its kernel reports an internal fault: {line}"),
            Trouble::Stall => format!("{node}: its kernel reports a stall, which can happen on a busy host: {line}"),
        }),
        Event::Rebooted { node, cause, ran_ms, .. } => {
            let after = spell(ran_ms / 1000);
            Some(match cause {
                RebootCause::Asked => format!("{node}: rebooted, after {after}"),
                RebootCause::Panic => format!("{node}: rebooted after a kernel panic; it had been up for {after}"),
                RebootCause::Itself => format!("warning: {node}: rebooted by itself (another boot id), after {after}"),
            })
        }
        Event::Synced { node, to, written, bytes, folders, removed, ms, .. } => {
            let files = |count: u64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
            let mut did = Vec::new();
            if *written > 0 {
                did.push(format!("{}, {}", files(*written), indicatif::BinaryBytes(*bytes)));
            }
            if *folders > 0 {
                did.push(format!("{folders} new folder{}", if *folders == 1 { "" } else { "s" }));
            }
            if *removed > 0 {
                did.push(format!("{removed} removed"));
            }
            let did = if did.is_empty() { "unchanged".to_owned() } else { did.join(", ") };
            Some(format!("{node}: {to}: {did} ({:.2} s)", *ms as f64 / 1000.0))
        }
        Event::Note { text } => Some(text.clone()),
        Event::Warning { text } => Some(format!("warning: {text}")),
    }
}

/// Whether an event is a problem, which is printed even with `--quiet`.
pub fn is_warning(event: &Event) -> bool {
    match event {
        Event::Warning { .. } => true,
        Event::Kernel { trouble, .. } => *trouble != Trouble::Stall,
        Event::Rebooted { cause, .. } => *cause == RebootCause::Itself,
        Event::Node { .. } | Event::Work { .. } | Event::Synced { .. } | Event::Note { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befalls_a_guest_is_one_line() {
        let node: labctl_spec::ident::NodeName = "web1".parse().unwrap();
        let kernel = |trouble| Event::Kernel { node: node.clone(), trouble, line: "LINE".into() };
        let rebooted = |cause| Event::Rebooted { node: node.clone(), cause, ran_ms: 90_000, boot_id: "x".into() };
        for (event, said, warns) in [
            (kernel(Trouble::Panic), "warning: web1: its kernel has panicked: LINE", true),
            (kernel(Trouble::Oops), "warning: web1: its kernel reports an internal fault: LINE", true),
            (kernel(Trouble::Stall), "web1: its kernel reports a stall, which can happen on a busy host: LINE", false),
            (rebooted(RebootCause::Asked), "web1: rebooted, after 90 s", false),
            (rebooted(RebootCause::Panic), "web1: rebooted after a kernel panic; it had been up for 90 s", false),
            (rebooted(RebootCause::Itself), "warning: web1: rebooted by itself (another boot id), after 90 s", true),
            (Event::Node { node: node.clone(), state: NodeState::Silent { why: "WHY".into() } }, "web1: silent: WHY", false),
        ] {
            assert_eq!(line(&event).unwrap(), said);
            assert_eq!(is_warning(&event), warns, "{said}");
        }
    }
}
