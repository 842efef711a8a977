//! Progress of provisioning, in the format that Ansible users know.

use std::sync::{Mutex, PoisonError};

use labctl_core::provisioning::{Event, Recap, Status};
use serde_json::{Map, Value};

use super::Output;

/// Prints a run. A task's heading is printed with its first result, so that tasks that no node ran are not shown.
pub struct PlayPrinter {
    out: Output,
    verbosity: u8,
    diff: bool,
    heading: Mutex<Option<String>>,
}

/// Number of slowest tasks to show.
const SLOWEST: usize = 5;

impl PlayPrinter {
    pub fn new(out: Output, verbosity: u8, diff: bool) -> Self {
        Self { out, verbosity, diff, heading: Mutex::default() }
    }

    fn print(&self, colour: &str, text: &str) {
        if let Some(heading) = self.head(None) {
            self.out.say(&heading);
        }
        self.out.say(&self.paint(colour, text));
    }

    /// Sets the heading for the next line; returns the previous one if it was not printed.
    fn head(&self, heading: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.heading.lock().unwrap_or_else(PoisonError::into_inner), heading)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.out.colour_of_errors() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn show(&self, event: &Event) {
        if self.out.is_json() {
            return self.out.json_line(event);
        }
        match event {
            Event::PlayStart { name, hosts } => {
                self.head(None);
                self.out.say(&format!("\nPLAY [{name}] ({})", hosts.join(", ")));
            }
            Event::TaskStart { name, handler, .. } => {
                let kind = if *handler { "HANDLER" } else { "TASK" };
                self.head(Some(format!("{kind} [{name}]")));
            }
            Event::ItemResult { host, status, item, result, .. } => self.result(host, None, *status, Some(item), result),
            Event::HostResult { host, place, status, result, .. } => self.result(host, Some(place), *status, None, result),
            Event::Included { what, hosts } => self.print("36", &format!("  included: {what} for {}", hosts.join(", "))),
            Event::Warning { message } => self.print("35", &format!("  warning: {message}")),
            Event::NoHostsRemaining => self.print("31", "  no hosts remain"),
        }
    }

    fn result(&self, host: &str, place: Option<&str>, status: Status, item: Option<&str>, result: &Map<String, Value>) {
        let (word, colour, loud) = match status {
            Status::Ok => ("ok", "32", false),
            Status::Changed => ("changed", "33", true),
            Status::Skipped => ("skipped", "36", false),
            Status::Failed => ("failed", "31", true),
            Status::Rescued => ("rescued", "33", true),
            Status::Ignored => ("failed, ignored", "36", true),
            Status::Unreachable => ("unreachable", "31", true),
        };
        // The summary of a loop adds nothing to its items.
        if item.is_none() && result.contains_key("results") && status != Status::Failed {
            return;
        }
        let said = result.get("_ansible_verbose_always").and_then(Value::as_bool).unwrap_or(false);
        if !loud && !said && self.verbosity == 0 {
            return;
        }
        let item = item.map(|item| format!(" => (item={item})")).unwrap_or_default();
        let place = place.filter(|_| status == Status::Failed).map(|place| format!(" ({place})")).unwrap_or_default();
        self.print(colour, &format!("  {word}: {host}{item}{place}{}", self.detail(status, result, said)));
        if self.diff
            && let Some(diff) = result.get("diff")
        {
            for text in diff_text(diff) {
                self.print("0", &text);
            }
        }
    }

    fn detail(&self, status: Status, result: &Map<String, Value>, said: bool) -> String {
        let failed = matches!(status, Status::Failed | Status::Unreachable | Status::Ignored | Status::Rescued);
        if !failed && !said && self.verbosity == 0 {
            return String::new();
        }
        let mut shown = result.clone();
        for key in ["diff", "invocation", "_ansible_verbose_always", "stdout_lines", "stderr_lines"] {
            shown.shift_remove(key);
        }
        if failed && self.verbosity == 0 {
            let mut text = String::new();
            for key in ["msg", "stderr", "stdout"] {
                if let Some(value) = shown.get(key).and_then(Value::as_str).filter(|value| !value.trim().is_empty()) {
                    text += &format!("\n      {}", value.trim_end().replace('\n', "\n      "));
                }
            }
            if !text.is_empty() {
                return text;
            }
        }
        format!(" => {}", serde_json::to_string(&shown).unwrap_or_default())
    }

    /// The final table, and the slowest tasks.
    pub fn recap(&self, recap: &Recap) {
        if self.out.is_json() {
            return self.out.json_line(&serde_json::json!({ "event": "recap", "recap": recap }));
        }
        self.out.say("\nRECAP");
        let width = recap.hosts.keys().map(String::len).max().unwrap_or(0);
        for (host, counts) in &recap.hosts {
            let colour = match (counts.failed + counts.unreachable, counts.changed) {
                (0, 0) => "32",
                (0, _) => "33",
                _ => "31",
            };
            let counts = format!(
                "ok={:<4} changed={:<4} unreachable={:<4} failed={:<4} skipped={:<4} rescued={:<4} ignored={}",
                counts.ok, counts.changed, counts.unreachable, counts.failed, counts.skipped, counts.rescued, counts.ignored
            );
            self.out.say(&format!("{} : {counts}", self.paint(colour, &format!("{host:<width$}"))));
        }
        let slow: Vec<String> = recap
            .timings
            .iter()
            .take(SLOWEST)
            .filter(|timing| timing.duration.as_millis() >= 500)
            .map(|timing| format!("  {:>6.1} s  {} ({})", timing.duration.as_secs_f64(), timing.name, timing.place))
            .collect();
        if !slow.is_empty() {
            self.out.say(&format!("slowest tasks:\n{}", slow.join("\n")));
        }
    }
}

/// Ansible's diffs: an object or a list of them, with `prepared` text or `before` and `after`.
fn diff_text(diff: &Value) -> Vec<String> {
    let parts: Vec<&Value> = match diff {
        Value::Array(parts) => parts.iter().collect(),
        other => vec![other],
    };
    let text = |part: &Value, key: &str| match part.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => format!("{}\n", serde_json::to_string_pretty(other).unwrap_or_default()),
    };
    parts
        .into_iter()
        .filter_map(|part| {
            if let Some(prepared) = part.get("prepared").and_then(Value::as_str) {
                return Some(prepared.to_owned());
            }
            let (before, after) = (text(part, "before"), text(part, "after"));
            if before == after {
                return None;
            }
            let heads = format!("--- before {}\n+++ after {}\n", text(part, "before_header"), text(part, "after_header"));
            let diff = similar::TextDiff::from_lines(&before, &after);
            Some(heads + &diff.unified_diff().context_radius(3).to_string())
        })
        .collect()
}
