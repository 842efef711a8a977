//! Package names as written in tasks: `nginx`, `nginx=1.2*`, `nginx>=1.2`, `lib*`, `libc6:i386`.

use crate::modules::call::outcome::Fault;
use crate::modules::packages::dpkg::compare;
use crate::modules::text::glob_matches;

/// A package, optionally with a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    /// Operator (`=` or `>=`) and version.
    pub(crate) version: Option<(String, String)>,
}

impl Spec {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        let bad = text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace);
        let (name, version) = match text.split_once(">=") {
            Some((name, version)) => (name, Some((">=".to_owned(), version.to_owned()))),
            None => match text.split_once('=') {
                Some((name, version)) => (name, Some(("=".to_owned(), version.to_owned()))),
                None => (text, None),
            },
        };
        if bad || name.is_empty() {
            return Err(format!("'{text}' is not a package name").into());
        }
        Ok(Self { name: name.to_owned(), version })
    }

    /// Whether the name itself is a pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        self.name.contains(['*', '?', '['])
    }

    pub(crate) fn name_fits(&self, name: &str) -> bool {
        glob_matches(&self.name, name)
    }

    /// Whether an installed version satisfies this.
    pub(crate) fn fits(&self, installed: &str) -> bool {
        match &self.version {
            None => true,
            Some((operator, version)) if operator == ">=" => compare(installed, version).is_ge(),
            Some((_, version)) => version == installed || glob_matches(version, installed),
        }
    }

    /// The argument for apt-get; a lower limit is left to the candidate version.
    pub(crate) fn argument(&self) -> String {
        match &self.version {
            Some((operator, version)) if operator == "=" => format!("{}={version}", self.name),
            _ => self.name.clone(),
        }
    }
}
