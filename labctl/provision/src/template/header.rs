//! The first line of a template file may change its syntax: `#jinja2: trim_blocks:False, lstrip_blocks:True`.

use std::fmt;

use super::engine::{Syntax, TemplateError};
use super::literals::unescape;

impl Syntax {
    /// The syntax set by a header, and the text without the header.
    pub(crate) fn from_header(text: &str) -> (Self, String) {
        let mut syntax = Self::default();
        let Some(rest) = text.strip_prefix("#jinja2:") else {
            return (syntax, text.to_owned());
        };
        let (header, body) = rest.split_once('\n').unwrap_or((rest, ""));
        for part in header.split(',') {
            if let Some((name, value)) = part.split_once(':') {
                let value = value.trim().trim_matches(['"', '\'']);
                syntax.set(name.trim(), &unescape(value));
            }
        }
        (syntax, body.to_owned())
    }

    /// Sets one property by its name in the header and in the template module.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let yes = matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
        match name {
            "trim_blocks" => self.trim_blocks = yes,
            "lstrip_blocks" => self.lstrip_blocks = yes,
            "block_start_string" => self.marks.block.0 = value.to_owned(),
            "block_end_string" => self.marks.block.1 = value.to_owned(),
            "variable_start_string" => self.marks.variable.0 = value.to_owned(),
            "variable_end_string" => self.marks.variable.1 = value.to_owned(),
            "comment_start_string" => self.marks.comment.0 = value.to_owned(),
            "comment_end_string" => self.marks.comment.1 = value.to_owned(),
            _ => {}
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.file.is_empty() { write!(f, "{}", self.message) } else { write!(f, "{} ({})", self.message, self.place) }
    }
}
