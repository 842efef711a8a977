//! Diagnostic events of the engines: what the switch, the store and the supervisor report through `tracing`.
//!
//! A command prints warnings, and more with `--debug`. A supervisor's standard error is its log, so that is where its events go.
//! `LABCTL_LOG` (error, warn, info, debug or trace) sets the level of a command and of a supervisor that it starts.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Output;

/// Name of the variable that sets the level.
const LEVEL: &str = "LABCTL_LOG";

/// Starts to print events; to be called before there are threads. Returns what is wrong with `LABCTL_LOG`, if anything.
pub fn listen(out: &Output, debug: bool, is_supervisor: bool) -> Option<String> {
    if debug && std::env::var_os(LEVEL).is_none() {
        // SAFETY: the program has no other thread yet. A supervisor that this command starts inherits it.
        unsafe { std::env::set_var(LEVEL, "debug") };
    }
    let usual = if is_supervisor { LevelFilter::INFO } else { LevelFilter::WARN };
    let (level, wrong) = level(std::env::var(LEVEL).ok().as_deref(), usual);
    let format = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(Lines(out.clone()));
    // Only a supervisor's events need their time: a user sees when a command prints.
    let _ = match is_supervisor {
        true => tracing::subscriber::set_global_default(format.finish()),
        false => tracing::subscriber::set_global_default(format.without_time().finish()),
    };
    wrong
}

/// The level that the variable asks for, or the usual one.
fn level(asked: Option<&str>, usual: LevelFilter) -> (LevelFilter, Option<String>) {
    match asked.filter(|asked| !asked.is_empty()).map(|asked| (asked, asked.parse::<LevelFilter>())) {
        None => (usual, None),
        Some((_, Ok(level))) => (level, None),
        Some((asked, Err(_))) => (usual, Some(format!("{LEVEL}={asked} is ignored: use error, warn, info, debug or trace"))),
    }
}

/// Prints events above progress bars that are shown.
struct Lines(Output);

struct Line(Output);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.0.clone())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.aside(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_sets_the_level_and_a_wrong_one_is_told() {
        assert_eq!(level(None, LevelFilter::WARN), (LevelFilter::WARN, None));
        assert_eq!(level(Some(""), LevelFilter::INFO), (LevelFilter::INFO, None));
        assert_eq!(level(Some("debug"), LevelFilter::WARN), (LevelFilter::DEBUG, None));
        let (kept, wrong) = level(Some("loud"), LevelFilter::WARN);
        assert_eq!(kept, LevelFilter::WARN);
        assert_eq!(wrong.unwrap(), "LABCTL_LOG=loud is ignored: use error, warn, info, debug or trace");
    }
}
