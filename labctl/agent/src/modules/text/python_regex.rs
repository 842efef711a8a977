//! Python's regular expressions, with errors as module faults.

use fancy_regex::{Captures, Regex};
use labctl_wire::python_regex::{self, Flags};

use crate::modules::call::outcome::Fault;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern in Python's syntax.
    pub(crate) fn new(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags::default())
    }

    /// The same, with `^` and `$` at the start and end of each line.
    pub(crate) fn multiline(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags { multiline: true, ..Flags::default() })
    }

    /// The same, with `.` also matching a line end.
    pub(crate) fn dot_all(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags { dot_all: true, ..Flags::default() })
    }

    fn with_flags(pattern: &str, flags: Flags) -> Result<Self, Fault> {
        Ok(Self { regex: python_regex::compile(pattern, flags)? })
    }

    /// Whether it matches anywhere; a search that is aborted (catastrophic backtracking) counts as not found.
    pub(crate) fn found(&self, text: &str) -> bool {
        self.regex.is_match(text).unwrap_or(false)
    }

    /// The first match with its groups.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t, str>> {
        self.regex.captures(text).ok().flatten()
    }

    /// The replacement template expanded for a match.
    pub(crate) fn expand(&self, replacement: &str, captures: &Captures<'_, str>) -> Result<String, Fault> {
        Ok(python_regex::expand(&self.regex, replacement, captures)?)
    }

    /// Replaces all matches; returns the text and their number (Python's `re.subn`).
    pub(crate) fn replace_all(&self, text: &str, replacement: &str) -> Result<(String, usize), Fault> {
        python_regex::replace(&self.regex, text, replacement, usize::MAX)
            .map_err(|why| Fault::from(format!("Unable to process replace due to error: {why}")))
    }
}
