//! What is left out of a copy: `gitignore`'s rules (gitignore(5)).

use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Rules, in order: the last one that matches decides, and nothing in a folder that is left out can be taken back in.
#[derive(Debug, Clone)]
pub struct Rules {
    lines: Vec<String>,
    matcher: Gitignore,
}

/// A rule that is not a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not a valid pattern: {why}")]
pub struct BadRule {
    /// Its position, from 0.
    pub at: usize,
    /// The rule.
    pub line: String,
    /// What is wrong with it.
    pub why: String,
}

impl Default for Rules {
    fn default() -> Self {
        Self { lines: Vec::new(), matcher: Gitignore::empty() }
    }
}

impl Rules {
    /// Rules from their lines. Empty lines and comments mean nothing.
    pub fn new(lines: Vec<String>) -> Result<Self, BadRule> {
        let mut builder = GitignoreBuilder::new("");
        for (at, line) in lines.iter().enumerate() {
            let bad = |why: ignore::Error| BadRule { at, line: line.clone(), why: why.to_string() };
            builder.add_line(None, &literal_braces(line)).map_err(bad)?;
        }
        let matcher = builder.build().map_err(|why| BadRule { at: 0, line: String::new(), why: why.to_string() })?;
        Ok(Self { lines, matcher })
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether a path below the folder is left out, given that the folders above it are not.
    pub fn exclude(&self, path: &Path, is_folder: bool) -> bool {
        self.matcher.matched(path, is_folder).is_ignore()
    }

    /// Whether a path is left out, by itself or with a folder above it.
    pub fn exclude_within(&self, path: &Path, is_folder: bool) -> bool {
        let mut above = PathBuf::new();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(name) = part else { return false };
            above.push(name);
            if self.exclude(&above, parts.peek().is_some() || is_folder) {
                return true;
            }
        }
        false
    }
}

/// The rule with its braces escaped: for git they are characters like any other, for the matcher they are alternatives.
fn literal_braces(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' => class(rest).unwrap_or(1),
            other => other.len_utf8(),
        };
        if matches!(first, '{' | '}') {
            out.push('\\');
        }
        out += &rest[..length];
        rest = &rest[length..];
    }
    out
}

/// Length of the class of characters (`[a-z]`) that a text begins with, in bytes. A bracket in the first place is one of its characters.
fn class(text: &str) -> Option<usize> {
    let inner = text[1..].strip_prefix(['!', '^']).unwrap_or(&text[1..]);
    let first = inner.chars().next()?.len_utf8();
    let end = inner[first..].find(']')?;
    Some(text.len() - inner.len() + first + end + 1)
}
