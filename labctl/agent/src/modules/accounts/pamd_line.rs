//! A line of a PAM service's file.

use std::fmt::{self, Display};

use crate::modules::call::outcome::Fault;

/// A line, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Rule(Rule),
    Comment(String),
    Empty(String),
    Include(String),
}

/// `type control path arguments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) kind: String,
    /// A word, or `[value=action ...]`.
    control: String,
    pub(super) path: String,
    pub(super) arguments: Vec<String>,
}

const SIMPLE: &[&str] = &["required", "requisite", "sufficient", "optional", "include", "substack", "definitive"];

const VALUES: &[&str] = &[
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
    "default",
];

const ACTIONS: &[&str] = &["ignore", "bad", "die", "ok", "done", "reset"];

/// Words of a line; text in brackets is one word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = match rest.starts_with('[') {
            true => rest.find(']').map_or(rest.len(), |at| at + 1),
            false => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    words
}

/// Arguments of a task, each of which may contain several.
pub(super) fn arguments_of(given: &[String]) -> Vec<String> {
    given.iter().flat_map(|text| words(text)).collect()
}

impl Rule {
    pub(super) fn new(kind: &str, control: &str, path: &str, arguments: Vec<String>) -> Self {
        let mut rule = Self { kind: kind.to_owned(), control: String::new(), path: path.to_owned(), arguments };
        rule.set_control(control);
        rule
    }

    /// Sets the control; `a = b` in brackets loses its spaces.
    pub(super) fn set_control(&mut self, control: &str) {
        self.control = if control.starts_with('[') { control.replace(" = ", "=") } else { control.to_owned() };
    }

    pub(super) fn is(&self, kind: &str, control: &str, path: &str) -> bool {
        self.kind == kind && self.control == control && self.path == path
    }

    fn check(&self) -> Result<(), Fault> {
        let Some(pairs) = self.control.strip_prefix('[') else {
            if SIMPLE.contains(&self.control.as_str()) {
                return Ok(());
            }
            return Err(format!("Rule control, {}, is not valid in rule {self}", self.control).into());
        };
        for pair in pairs.trim_end_matches(']').split_whitespace() {
            let (value, action) = pair.split_once('=').unwrap_or((pair, ""));
            if !VALUES.contains(&value) {
                return Err(format!("Rule control value, {value}, is not valid in rule {self}").into());
            }
            if !ACTIONS.contains(&action) && action.parse::<u32>().is_err() {
                return Err(format!("Rule control action, {action}, is not valid in rule {self}").into());
            }
        }
        Ok(())
    }
}

impl Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<11}{} {}", self.kind, self.control, self.path)?;
        match self.arguments.is_empty() {
            true => Ok(()),
            false => write!(formatter, " {}", self.arguments.join(" ")),
        }
    }
}

impl Line {
    pub(super) fn parse(line: &str) -> Result<Self, Fault> {
        let bare = line.trim();
        if bare.is_empty() {
            return Ok(Self::Empty(line.to_owned()));
        }
        if bare.starts_with('#') {
            return Ok(Self::Comment(line.to_owned()));
        }
        if bare.starts_with("@include") {
            return Ok(Self::Include(line.to_owned()));
        }
        let mut words = words(bare).into_iter();
        match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(control), Some(path)) => Ok(Self::Rule(Rule::new(&kind, &control, &path, words.collect()))),
            _ => Err(format!("Rule is not valid {line}").into()),
        }
    }

    /// Fails for what PAM would not accept.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Rule(rule) => rule.check(),
            Self::Comment(_) | Self::Empty(_) | Self::Include(_) => Ok(()),
        }
    }
}

impl Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(formatter),
            Self::Comment(text) | Self::Empty(text) | Self::Include(text) => formatter.write_str(text),
        }
    }
}
