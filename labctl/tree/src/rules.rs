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
            builder.add_line(None, line).map_err(bad)?;
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
