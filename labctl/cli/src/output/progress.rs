//! Progress: a line per node and per piece of work on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use labctl_core::event::{Event, NodeState};

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

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Node { node, state } => {
                let bar = self.bar(node.as_str()).clone();
                match state {
                    NodeState::Running | NodeState::Off | NodeState::Suspended => bar.finish_with_message(state.word()),
                    NodeState::Crashed { why } => bar.finish_with_message(format!("crashed: {why}")),
                    _ => bar.set_message(state.word()),
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
            Event::Note { .. } | Event::Warning { .. } => {
                // A terminal that cannot be written to is nothing to fail for.
                let _ = self.all.println(line(event).unwrap_or_default());
            }
        }
    }

    /// Leaves what was reached on the screen.
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

/// The event as a plain line; none for those that only move a bar.
pub fn line(event: &Event) -> Option<String> {
    match event {
        Event::Node { node, state: NodeState::Crashed { why } } => Some(format!("{node}: crashed: {why}")),
        Event::Node { node, state } => Some(format!("{node}: {}", state.word())),
        Event::Work { what, step, progress: None } => Some(format!("{what}: {step}")),
        Event::Work { .. } => None,
        Event::Note { text } => Some(text.clone()),
        Event::Warning { text } => Some(format!("warning: {text}")),
    }
}
