//! Probes: one query to the lab, one answer in plain words.

#[cfg(test)]
mod canned;
mod consul;
mod exec;
mod http;
mod json;
mod nomad;
#[cfg(test)]
mod plain_tests;
mod repeat;
mod tcp;

use std::time::Duration;

use labctl_spec::scenario::Check;
use serde::{Deserialize, Serialize};

use crate::target::ProbeTarget;

pub(crate) use repeat::{Sample, repeat};

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it is as expected.
    pub holds: bool,
    /// For display, such as `2 of 5 members alive`.
    pub words: String,
}

impl Answer {
    fn yes(words: impl Into<String>) -> Self {
        Self { holds: true, words: words.into() }
    }

    fn no(words: impl Into<String>) -> Self {
        Self { holds: false, words: words.into() }
    }
}

/// Queries once. Never fails: whatever goes wrong is an answer that does not hold. Returns within `limit`.
pub async fn ask(check: &Check, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    let answer = async {
        match check {
            Check::Http(check) => http::ask(check, target, limit).await,
            Check::Tcp(check) => tcp::ask(check, target, limit).await,
            Check::Exec(check) => exec::ask(check, target, limit).await,
            Check::Consul(check) => consul::ask(check, target, limit).await,
            Check::Nomad(check) => nomad::ask(check, target, limit).await,
        }
    };
    // Each query has the limit too, but a probe may make several queries and a target may be late.
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Answer::no(format!("no answer within {limit:?}")),
    }
}

/// The node that a probe queries, to check its name before anything starts.
pub fn node(check: &Check) -> &str {
    match check {
        Check::Http(check) => &check.node,
        Check::Tcp(check) => &check.node,
        Check::Exec(check) => &check.node,
        Check::Consul(check) => &check.node,
        Check::Nomad(check) => &check.node,
    }
}

/// The first line of external text, shortened for a table and without control characters.
fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 100;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * LONGEST)]);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if line.chars().count() > LONGEST {
        short.push('…');
    }
    short
}

/// `" (critical: a, b)"`, or nothing.
fn blamed(word: &str, mut names: Vec<String>) -> String {
    const MOST: usize = 6;
    if names.is_empty() {
        return String::new();
    }
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(" ({word}: {}{more})", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_one_clean_line() {
        assert_eq!(excerpt(b"\n  \n<h1>\x1b[31mno\tway</h1>\nmore"), "<h1>[31mnoway</h1>");
        assert_eq!(excerpt(&[b'x'; 500]), format!("{}…", "x".repeat(100)));
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names = |n: usize| (0..n).map(|i| format!("n{i}")).collect::<Vec<_>>();
        assert_eq!(blamed("down", names(0)), "");
        assert_eq!(blamed("down", names(2)), " (down: n0, n1)");
        assert_eq!(blamed("down", names(8)), " (down: n0, n1, n2, n3, n4, n5 and 2 more)");
    }
}
