//! Builds the tree from the parser's events, without recursion.

use std::collections::HashMap;
use std::path::Path;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Tag, options};

use super::merge;
use super::{Document, DuplicateKeys, Entry, Node, Options, Resolved, Scalar, Span, Style, Value, mistake, scalar};
use crate::mistake::Mistake;

/// Whether two keys are equal: `8` and `010` are, `8` and `"8"` are not (as in a Python dict).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyIdentity {
    Null,
    Bool(bool),
    Int(i128),
    Float(u64),
    Text(String),
}

impl KeyIdentity {
    pub(super) fn of(key: &Node) -> Self {
        let Some(scalar) = key.as_scalar() else {
            return Self::Null;
        };
        match scalar.resolved {
            Resolved::Null => Self::Null,
            Resolved::Bool(value) => Self::Bool(value),
            Resolved::Int(value) => Self::Int(value),
            Resolved::Float(value) => Self::Float(value.to_bits()),
            Resolved::Str => Self::Text(scalar.text.clone()),
        }
    }
}

/// A finished node with the sizes needed to enforce the limits.
struct Built {
    node: Node,
    /// Number of nodes in it, including itself.
    count: usize,
    /// Nesting depth; 0 for a scalar.
    depth: usize,
}

/// A list or mapping that is still open.
struct Open {
    kind: Kind,
    span: Span,
    tag: Option<String>,
    anchor: usize,
    count: usize,
    depth: usize,
}

enum Kind {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<KeyIdentity, (usize, Span)>, key: Option<Node> },
}

struct Builder<'a> {
    file: &'a Path,
    options: &'a Options,
    open: Vec<Open>,
    /// Finished anchors of this document; `None` while the anchored node is still open.
    anchors: HashMap<usize, Option<Built>>,
    alias_nodes: usize,
    root: Option<Node>,
    empty: bool,
    warnings: Vec<Mistake>,
}

/// Reads all documents; with `single`, rejects a second one.
pub(super) fn documents(text: &str, file: &Path, options: &Options, single: bool) -> Result<Vec<Document>, Mistake> {
    let fault = |span: Span, reason: String, hint: &str| at(file, span, reason, Some(hint));
    if text.len() > options.length {
        let reason = format!("the file has {} bytes; at most {} are read", text.len(), options.length);
        return Err(fault(Span::default(), reason, "split the file"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser's own limit must be higher than ours, so that our message is reported.
    let limit = options.depth.saturating_add(8);
    let parser = Parser::new_from_str_with_options(text, options! { flow_nesting_limit: limit, block_nesting_limit: limit });
    let mut builder = Builder {
        file,
        options,
        open: Vec::new(),
        anchors: HashMap::new(),
        alias_nodes: 0,
        root: None,
        empty: false,
        warnings: Vec::new(),
    };
    let mut documents = Vec::new();
    for event in parser {
        let (event, span) = event.map_err(|error| match error.kind() {
            ErrorKind::RecursionLimitExceeded => builder.too_deep(place(error.marker())),
            _ => mistake::fault(&error, text, file),
        })?;
        let here = place(&span.start);
        match event {
            Event::DocumentStart(..) => {
                if single && !documents.is_empty() {
                    let hint = "keep one document per file: remove this `---`";
                    return Err(fault(here, "a second document begins here".to_owned(), hint));
                }
                builder.anchors.clear();
                builder.empty = false;
            }
            Event::DocumentEnd => documents.push(builder.finish(here)),
            Event::Scalar(value, style, anchor, tag) => {
                // The parser reports `~` where nothing is written.
                let nothing = style == ScalarStyle::Plain && span.is_empty();
                let value = if nothing { String::new() } else { value.into_owned() };
                builder.empty = nothing && builder.open.is_empty();
                builder.scalar(value, style, anchor, tag.as_deref(), here)?;
            }
            Event::SequenceStart(_, anchor, tag) => builder.begin(Kind::Seq(Vec::new()), anchor, tag.as_deref(), here)?,
            Event::MappingStart(_, anchor, tag) => {
                let kind = Kind::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                builder.begin(kind, anchor, tag.as_deref(), here)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.end()?,
            Event::Alias(anchor) => builder.alias(anchor, here)?,
            _ => {}
        }
    }
    Ok(documents)
}

fn place(marker: &Marker) -> Span {
    Span { line: marker.line(), column: marker.col() + 1 }
}

fn at(file: &Path, span: Span, reason: String, hint: Option<&str>) -> Mistake {
    Mistake { file: file.to_owned(), line: span.line, column: span.column, field: String::new(), reason, hint: hint.map(str::to_owned) }
}

/// The suffix of a core YAML tag that this module applies, or the tag to keep.
fn split_tag(tag: Option<&Tag>) -> (Option<&str>, Option<String>) {
    match tag {
        None => (None, None),
        Some(tag) => match tag.core_suffix() {
            Some(core) => (Some(core), None),
            // The non-specific tag `!` only means "do not resolve".
            None if tag.original() == "!" => (Some("str"), None),
            None => (None, Some(tag.original())),
        },
    }
}

/// Number of nodes in a value, including itself; recursion is bounded by the depth limit.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Scalar(_) => 0,
        Value::Seq(items) => items.iter().map(|item| size(&item.value)).sum(),
        Value::Map(map) => map.entries.iter().map(|entry| 1 + size(&entry.value.value)).sum(),
    }
}

impl Builder<'_> {
    fn fault(&self, span: Span, reason: impl Into<String>, hint: &str) -> Mistake {
        at(self.file, span, reason.into(), Some(hint))
    }

    fn finish(&mut self, end: Span) -> Document {
        let empty = self.empty || self.root.is_none();
        Document {
            file: self.file.to_owned(),
            root: self.root.take().unwrap_or_else(|| Node::null(end)),
            empty,
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<(), Mistake> {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let (core, tag) = split_tag(tag);
        let resolved = match core {
            None if style == Style::Plain && tag.is_none() => scalar::resolve(&text),
            None | Some("str") => Resolved::Str,
            Some(core) => {
                let resolved = match core {
                    "null" => Some(Resolved::Null),
                    "bool" => Some(scalar::resolve(&text)).filter(|value| matches!(value, Resolved::Bool(_))),
                    "int" => scalar::int(&text).map(Resolved::Int),
                    "float" => scalar::float(&text)
                        .or_else(|| scalar::int(&text).map(|value| value as f64))
                        .or_else(|| text.parse().ok())
                        .map(Resolved::Float),
                    _ => None,
                };
                let hint = "remove the tag or correct the value";
                resolved.ok_or_else(|| self.fault(span, format!("`{text}` does not fit its tag `!!{core}`"), hint))?
            }
        };
        let node = Node { value: Value::Scalar(Scalar { text, style, resolved }), span, tag };
        self.put(Built { node, count: 1, depth: 0 }, anchor)
    }

    fn begin(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<(), Mistake> {
        self.refuse_key(span)?;
        if self.open.len() >= self.options.depth {
            return Err(self.too_deep(span));
        }
        let (core, tag) = split_tag(tag);
        let fits = match kind {
            Kind::Seq(_) => core.is_none_or(|core| core == "seq"),
            Kind::Map { .. } => core.is_none_or(|core| core == "map"),
        };
        if !fits {
            let reason = format!("the tag `!!{}` does not fit a list or mapping", core.unwrap_or_default());
            return Err(self.fault(span, reason, "remove the tag"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { kind, span, tag, anchor, count: 1, depth: 1 });
        Ok(())
    }

    fn too_deep(&self, span: Span) -> Mistake {
        self.fault(span, format!("nested deeper than {} levels", self.options.depth), "flatten the structure")
    }

    /// A list or mapping starts where a key is required.
    fn refuse_key(&self, span: Span) -> Result<(), Mistake> {
        match self.open.last() {
            Some(Open { kind: Kind::Map { key: None, .. }, .. }) => {
                let hint = "quote a value that begins with a template: \"{{ name }}\"";
                Err(self.fault(span, "a list or mapping cannot be a key", hint))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Mistake> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (value, count) = match open.kind {
            Kind::Seq(items) => (Value::Seq(items), open.count),
            Kind::Map { entries, .. } => {
                let merges = entries.iter().any(|entry| merge::is_merge(&entry.key));
                let map = merge::flatten(entries).map_err(|wrong| {
                    let reason = format!("`<<` merges mappings, not {}", wrong.kind());
                    let hint = "give an alias of a mapping, or a list of them: `<<: [*a, *b]`";
                    self.fault(wrong.span, reason, hint)
                })?;
                let value = Value::Map(map);
                let count = if merges { size(&value) } else { open.count };
                (value, count)
            }
        };
        let node = Node { value, span: open.span, tag: open.tag };
        self.put(Built { node, count, depth: open.depth }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Mistake> {
        let Some(Some(built)) = self.anchors.get(&anchor) else {
            return Err(self.fault(span, "the alias is inside of its own anchor", "refer to another anchor"));
        };
        let (count, depth) = (built.count, built.depth);
        let node = Node { span, ..built.node.clone() };
        self.count_copy(count, span)?;
        if depth > 0 {
            self.refuse_key(span)?;
        }
        if self.open.len() + depth > self.options.depth {
            return Err(self.too_deep(span));
        }
        self.put(Built { node, count, depth }, 0)
    }

    /// Counts nodes that are copies and not in the text; their number is limited.
    fn count_copy(&mut self, nodes: usize, span: Span) -> Result<(), Mistake> {
        self.alias_nodes += nodes;
        if self.alias_nodes <= self.options.alias_nodes {
            return Ok(());
        }
        let reason = format!("anchors and aliases stand for more than {} values", self.options.alias_nodes);
        Err(self.fault(span, reason, "write fewer nested aliases"))
    }

    /// Adds a finished node to the enclosing list or mapping.
    fn put(&mut self, built: Built, anchor: usize) -> Result<(), Mistake> {
        if anchor != 0 {
            // Nested anchors copy their contents again; that counts like an alias.
            self.count_copy(built.count - 1, built.node.span)?;
            let copy = Built { node: built.node.clone(), ..built };
            self.anchors.insert(anchor, Some(copy));
        }
        let Built { node, count, depth } = built;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.count += count;
        open.depth = open.depth.max(depth + 1);
        match &mut open.kind {
            Kind::Seq(items) => {
                items.push(node);
                Ok(())
            }
            Kind::Map { key: key @ None, .. } => {
                *key = Some(node);
                Ok(())
            }
            Kind::Map { entries, seen, key } => {
                let Some(key) = key.take() else { return Ok(()) };
                if merge::is_merge(&key) {
                    entries.push(Entry { key, value: node });
                    return Ok(());
                }
                let here = key.span;
                if let Some((position, first)) = seen.get(&KeyIdentity::of(&key)).copied() {
                    let reason = format!("the key `{}` appears twice in this mapping", key.as_text().unwrap_or_default());
                    entries[position] = Entry { key, value: node };
                    let hint = format!("line {} already has it: keep one", first.line);
                    let fault = at(self.file, here, reason, Some(&hint));
                    match self.options.duplicate_keys {
                        DuplicateKeys::Mistake => return Err(fault),
                        DuplicateKeys::LastWins => self.warnings.push(fault),
                    }
                    return Ok(());
                }
                seen.insert(KeyIdentity::of(&key), (entries.len(), here));
                entries.push(Entry { key, value: node });
                Ok(())
            }
        }
    }
}
