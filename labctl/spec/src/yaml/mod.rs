//! A YAML tree with locations: every scalar, list and mapping has the line and column where it starts.
//!
//! Scalars are resolved as by PyYAML's `SafeLoader`, and therefore Ansible: YAML 1.1, where `yes`, `no`, `on` and `off` are booleans,
//! `0644` is octal, `1:30` is sexagesimal (90), and `1e3` without a dot is text. The original text is kept ([`Scalar::text`],
//! [`Scalar::style`]), so that a reader may interpret it differently. Dates stay text.
//!
//! ```
//! use labctl_spec::yaml;
//! use std::path::Path;
//!
//! let document = yaml::parse("nodes:\n- name: a\n  memory: 512M\n", Path::new("lab.yml")).unwrap();
//! let memory = document.root.at("/nodes/0/memory").unwrap();
//! assert_eq!(memory.as_str(), Some("512M"));
//! assert_eq!((memory.span.line, memory.span.column), (3, 11));
//! assert_eq!(document.root.to_json()["nodes"][0]["name"], "a");
//! ```
//!
//! - Anchors, aliases and merge keys (`<<`) are resolved: an alias is a copy of the anchor's tree. Its root has the alias's location; the
//!   nodes inside keep theirs.
//! - A repeated key is a fault or, with [`Options::duplicate_keys`], a warning, and the last one wins (as in Ansible).
//! - Core YAML tags (`!!str`, `!!int` ...) are applied; any other (`!vault`, `!unsafe`) is kept in [`Node::tag`].
//! - Depth, aliases and text length are limited, so that no input takes more than seconds or exhausts memory.
//! - A mapping as a key is a fault: it is nearly always a template without quotes, `key: {{ value }}`.

mod build;
mod json;
mod lookup;
mod merge;
mod mistake;
mod scalar;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::mistake::Mistake;

/// A location in the text; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Line, from 1; 0 if there is none.
    pub line: usize,
    /// Column, from 1; 0 if there is none.
    pub column: usize,
}

/// One document: a file, or a part of one between `---`.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file it was read from, as given to [`parse`].
    pub file: PathBuf,
    /// The tree; null for an empty document.
    pub root: Node,
    /// Whether the document is empty (apart from comments).
    pub empty: bool,
    /// Repeated keys that were accepted ([`DuplicateKeys::LastWins`]).
    pub warnings: Vec<Mistake>,
}

/// A value with its location.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value itself.
    pub value: Value,
    /// Where it starts: a mapping at its first key or `{`, a list at its `[`, its first `-`, or, if it is not indented, its first item.
    pub span: Span,
    /// A tag other than the core YAML tags, as written: `!vault`, `!unsafe`, `!!binary`.
    pub tag: Option<String>,
}

/// A scalar, a list or a mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// A single value: what was written, and what PyYAML makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The text after quotes, escapes and folding.
    pub text: String,
    /// How it was written.
    pub style: Style,
    /// What it means.
    pub resolved: Resolved,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes; only these are resolved to anything other than text.
    Plain,
    /// `'...'`
    SingleQuoted,
    /// `"..."`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// What a scalar means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved {
    /// Nothing: empty, `~`, `null`.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole number; one beyond 128 bits is text.
    Int(i128),
    /// A number with a dot, infinity or not-a-number.
    Float(f64),
    /// Text: [`Scalar::text`].
    Str,
}

/// A mapping in file order; merged entries come first, as in PyYAML.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key: always a scalar.
    pub key: Node,
    /// The value.
    pub value: Node,
}

/// How to treat a key that appears twice in one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DuplicateKeys {
    /// Reject the file.
    #[default]
    Mistake,
    /// Use the last one and report it in [`Document::warnings`].
    LastWins,
}

/// How to read; [`Options::default`] suits labctl's own files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Repeated keys.
    pub duplicate_keys: DuplicateKeys,
    /// Deepest nesting, aliases included.
    pub depth: usize,
    /// Maximum number of nodes that aliases and merge keys may add to a stream. Ten lines of nested aliases can expand to billions of nodes
    /// ("billion laughs").
    pub alias_nodes: usize,
    /// Longest text, in bytes.
    pub length: usize,
}

impl Default for Options {
    fn default() -> Self {
        // Deep enough for any playbook, shallow enough for recursive readers; 16 MiB of YAML parse in about a second.
        Self { duplicate_keys: DuplicateKeys::Mistake, depth: 128, alias_nodes: 200_000, length: 16 << 20 }
    }
}

/// Parses a text with exactly one document and the default [`Options`]. An empty text gives a document whose root is null.
///
/// # Errors
/// The first fault, located in `file` (used only as a name, never read). A second document is a fault.
pub fn parse(text: &str, file: &Path) -> Result<Document, Mistake> {
    parse_with(text, file, &Options::default())
}

/// Like [`parse`], with options.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, file: &Path, options: &Options) -> Result<Document, Mistake> {
    let mut documents = build::documents(text, file, options, true)?;
    Ok(documents.pop().unwrap_or_else(|| Document::nothing(file)))
}

/// Parses a text with any number of documents, separated by `---`.
///
/// # Errors
/// The first fault.
pub fn parse_all(text: &str, file: &Path, options: &Options) -> Result<Vec<Document>, Mistake> {
    build::documents(text, file, options, false)
}

/// How PyYAML resolves a plain (unquoted) scalar; for readers that get text from elsewhere, such as `-e key=value`.
pub fn resolve_plain(text: &str) -> Resolved {
    scalar::resolve(text)
}

impl Document {
    fn nothing(file: &Path) -> Self {
        let span = Span { line: 1, column: 1 };
        Self { file: file.to_owned(), root: Node::null(span), empty: true, warnings: Vec::new() }
    }

    /// The location of the value at a JSON pointer such as `/nodes/1/memory`.
    pub fn span_of(&self, pointer: &str) -> Option<Span> {
        self.root.at(pointer).map(|node| node.span)
    }

    /// A fault at a location in this document.
    pub fn fault(&self, span: Span, reason: impl Into<String>, hint: Option<String>) -> Mistake {
        Mistake { file: self.file.clone(), line: span.line, column: span.column, field: String::new(), reason: reason.into(), hint }
    }
}

impl Node {
    fn null(span: Span) -> Self {
        let scalar = Scalar { text: String::new(), style: Style::Plain, resolved: Resolved::Null };
        Self { value: Value::Scalar(scalar), span, tag: None }
    }

    /// The kind of value, in words for a message: `text`, `a whole number`, `a mapping` ...
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Map(_) => "a mapping",
            Value::Seq(_) => "a list",
            Value::Scalar(scalar) => match scalar.resolved {
                Resolved::Null => "nothing",
                Resolved::Bool(_) => "a boolean",
                Resolved::Int(_) => "a whole number",
                Resolved::Float(_) => "a number",
                Resolved::Str => "text",
            },
        }
    }
}

impl Scalar {
    /// Whether it was quoted or written as a block, and is therefore always text.
    pub fn quoted(&self) -> bool {
        self.style != Style::Plain
    }
}
