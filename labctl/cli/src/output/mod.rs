//! Everything that labctl prints. Progress and notes go to standard error, results to standard output.

pub mod play;
mod progress;
mod table;
pub mod time;
pub mod trace;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use labctl_lab::Failure;
use labctl_lab::event::Event;
use progress::Bars;
use serde::Serialize;
pub use table::Table;

/// How to print; cheap to clone.
#[derive(Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
    /// Whether standard error is a terminal that supports progress bars and colours.
    lively: bool,
    colour: bool,
    /// Whether standard error supports colours.
    colour_of_errors: bool,
    bars: Arc<Mutex<Option<Bars>>>,
}

impl Output {
    /// Decides from the options, the environment (`NO_COLOR`, `TERM`) and the type of the streams.
    pub fn new(json: bool, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let lively = !json && !quiet && !dumb && std::io::stderr().is_terminal();
        let coloured = |terminal: bool| !plain && !dumb && terminal;
        Self {
            json,
            quiet,
            lively,
            colour: coloured(std::io::stdout().is_terminal()),
            colour_of_errors: coloured(std::io::stderr().is_terminal()),
            bars: Arc::default(),
        }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether standard output supports colours.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Whether standard error, which receives events and notes, supports colours.
    pub fn colour_of_errors(&self) -> bool {
        self.colour_of_errors
    }

    /// Prints an event.
    pub fn event(&self, event: &Event) {
        if self.json {
            return self.json_line(event);
        }
        if self.lively {
            let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
            return bars.get_or_insert_with(Bars::new).show(event);
        }
        if let Some(line) = progress::line(event)
            && (!self.quiet || progress::is_warning(event))
        {
            write_error(&format!("{line}\n"));
        }
    }

    /// Removes the progress bars; what follows is printed below them.
    pub fn finish(&self) {
        if let Some(bars) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bars.finish();
        }
    }

    /// Prints the text of a result; nothing with `--json`.
    pub fn text(&self, text: &str) {
        if !self.json {
            self.finish();
            write_out(text.as_bytes());
            write_out(b"\n");
        }
    }

    /// Prints a remark about the work to standard error; nothing with `--json` or `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.json && !self.quiet {
            self.finish();
            write_error(&format!("{text}\n"));
        }
    }

    /// Prints a line to standard error that is not part of the work: above the progress bars, if there are any.
    pub fn aside(&self, line: &str) {
        match &*self.bars.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bars) => bars.above(line.trim_end()),
            None => write_error(line),
        }
    }

    /// Prints a result: as JSON with `--json`, else as text.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        if self.json { self.json_line(value) } else { self.text(&text()) }
    }

    /// Prints a JSON line.
    pub fn json_line<T: Serialize>(&self, value: &T) {
        if let Ok(mut line) = serde_json::to_vec(value) {
            line.push(b'\n');
            write_out(&line);
        }
    }

    /// The only place where failures are printed.
    pub fn failure(&self, failure: &Failure) {
        self.finish();
        if self.json {
            return self.json_line(
                &serde_json::json!({ "event": "failure", "kind": failure.kind, "message": failure.message, "hint": failure.hint }),
            );
        }
        let (open, close) = if self.colour_of_errors { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        write_error(&format!("{open}error:{close} {}\n", failure.message.replace('\n', "\n       ")));
        if let Some(hint) = &failure.hint {
            write_error(&format!(" hint: {hint}\n"));
        }
    }
}

/// Writes to standard error. It may be a log on a full disk or a pipe without a reader: what cannot be told must not end the work, as
/// `eprintln!` does.
pub fn write_error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard output. If the reader is gone (`labctl status | head -1`), the command exits quietly, like other
/// tools, with the exit code of SIGPIPE (13). Any other error is reported, because the result is lost.
pub fn write_out(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(128 + 13),
        Err(why) => {
            write_error(&format!("error: standard output: {why}\n"));
            std::process::exit(i32::from(labctl_lab::Kind::Host.exit_code()));
        }
    }
}
