//! Python's regular expressions with the faults of modules.

use fancy_regex::{Captures, Regex};
use labctl_wire::python_regex::{self, Flags};

use crate::modules::call::outcome::Fault;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles Python's syntax.
    pub(crate) fn new(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags::default())
    }

    /// Likewise, `^` and `$` at each line's begin and end.
    pub(crate) fn multiline(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags { multiline: true, ..Flags::default() })
    }

    /// Likewise, `.` also for the end of a line.
    pub(crate) fn dot_all(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, Flags { dot_all: true, ..Flags::default() })
    }

    fn with_flags(pattern: &str, flags: Flags) -> Result<Self, Fault> {
        Ok(Self { regex: python_regex::compile(pattern, flags)? })
    }

    /// Whether it is found anywhere; a search that goes astray (catastrophic backtracking) counts as not found.
    pub(crate) fn found(&self, text: &str) -> bool {
        self.regex.is_match(text).unwrap_or(false)
    }

    /// The first match with its groups.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t, str>> {
        self.regex.captures(text).ok().flatten()
    }

    /// What a replacement template stands for at a match.
    pub(crate) fn expand(&self, replacement: &str, captures: &Captures<'_, str>) -> Result<String, Fault> {
        Ok(python_regex::expand(&self.regex, replacement, captures)?)
    }

    /// All matches replaced; the text and how many there were (Python's `re.subn`).
    pub(crate) fn replace_all(&self, text: &str, replacement: &str) -> Result<(String, usize), Fault> {
        python_regex::replace(&self.regex, text, replacement, usize::MAX)
            .map_err(|why| Fault::from(format!("Unable to process replace due to error: {why}")))
    }
}
