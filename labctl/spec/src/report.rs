//! Collects the mistakes that the semantic checks of a document find.

use crate::check::{Kept, escape};
use crate::mistake::{Mistake, Mistakes};
use crate::yaml::{Document, Node, Span, Value};

/// A document and its mistakes.
pub(crate) struct Report {
    document: Document,
    /// Positions in the file of the list items that were kept, for lists that lost items.
    kept: Kept,
    faults: Vec<Mistake>,
    /// How many mistakes the structure check found; they come first.
    structural: usize,
}

impl Report {
    pub(crate) fn new(document: Document, kept: Kept, faults: Vec<Mistake>) -> Self {
        Self { document, kept, structural: faults.len(), faults }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The line of the field at a JSON pointer.
    pub(crate) fn line(&self, pointer: &str) -> usize {
        self.place(pointer).0.line
    }

    /// Whether the structure check found a mistake in the field at a JSON pointer or inside it. If so, the field may be absent from the value
    /// although the file has it.
    pub(crate) fn is_faulty(&self, pointer: &str) -> bool {
        self.is_in(&self.faults[..self.structural], pointer)
    }

    /// Whether any mistake was found in the field at a JSON pointer or inside it.
    pub(crate) fn has_fault_in(&self, pointer: &str) -> bool {
        self.is_in(&self.faults, pointer)
    }

    fn is_in(&self, faults: &[Mistake], pointer: &str) -> bool {
        let (_, _, field, whole) = self.walk(pointer);
        faults.iter().any(|fault| match fault.field.strip_prefix(&field) {
            Some("") => true,
            Some(rest) => whole && rest.starts_with(['.', '[']),
            None => false,
        })
    }

    /// Adds a mistake of the field at a JSON pointer.
    pub(crate) fn add(&mut self, pointer: &str, reason: impl Into<String>, hint: impl Into<String>) {
        let (span, field) = self.place(pointer);
        self.push(span, field, reason.into(), hint.into());
    }

    /// Adds a mistake of a mapping's key: `key` in the mapping at a JSON pointer.
    pub(crate) fn add_key(&mut self, pointer: &str, key: &str, reason: impl Into<String>, hint: impl Into<String>) {
        let pointer = format!("{pointer}/{}", escape(key));
        let (mut span, field) = self.place(&pointer);
        if let Some((parent, _)) = pointer.rsplit_once('/')
            && let Some(entry) = self.node(parent).and_then(Node::as_map).and_then(|map| map.entry(key))
        {
            span = entry.key.span;
        }
        self.push(span, field, reason.into(), hint.into());
    }

    fn push(&mut self, span: Span, field: String, reason: String, hint: String) {
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        let fault = self.document.fault(span, reason, hint);
        self.faults.push(Mistake { field, ..fault });
    }

    /// The keys that have a value in the file's mapping at a JSON pointer, including faulty ones.
    pub(crate) fn keys(&self, pointer: &str) -> Vec<&str> {
        let Some(map) = self.node(pointer).and_then(Node::as_map) else {
            return Vec::new();
        };
        map.entries.iter().filter(|entry| !entry.value.is_null()).map(|entry| entry.name()).collect()
    }

    /// The text of the scalar at a JSON pointer, as it was written.
    pub(crate) fn written(&self, pointer: &str) -> Option<&str> {
        self.node(pointer).and_then(Node::as_text)
    }

    fn node(&self, pointer: &str) -> Option<&Node> {
        let (node, _, _, whole) = self.walk(pointer);
        whole.then_some(node)
    }

    /// Line and column of a field, and its path in readable form: `nodes[1].memory`. A list or mapping is reported at its key; a missing
    /// field, at the mapping that lacks it.
    fn place(&self, pointer: &str) -> (Span, String) {
        let (_, span, field, _) = self.walk(pointer);
        (span, field)
    }

    /// Follows a JSON pointer into the value as far as the file has it: node, location, path, and whether the whole pointer was found.
    fn walk(&self, pointer: &str) -> (&Node, Span, String, bool) {
        let mut node = &self.document.root;
        let mut span = node.span;
        let mut field = String::new();
        let mut so_far = String::new();
        for step in pointer.split('/').skip(1) {
            let step_text = step.replace("~1", "/").replace("~0", "~");
            let next = match &node.value {
                Value::Map(map) => map.entry(&step_text).map(|entry| {
                    let scalar = entry.value.as_text().is_some_and(|text| !text.is_empty());
                    let place = if scalar { entry.value.span } else { entry.key.span };
                    (&entry.value, place, step_text.clone())
                }),
                Value::Seq(items) => step.parse::<usize>().ok().and_then(|index| {
                    let index = self.kept.get(&so_far).map_or(Some(index), |kept| kept.get(index).copied())?;
                    items.get(index).map(|item| (item, item.span, format!("[{index}]")))
                }),
                Value::Scalar(_) => None,
            };
            let Some((found, place, name)) = next else {
                return (node, span, field, false);
            };
            if !field.is_empty() && !name.starts_with('[') {
                field.push('.');
            }
            field += &name;
            so_far += &format!("/{step}");
            (node, span) = (found, place);
        }
        (node, span, field, true)
    }

    /// The value if it exists and no mistake was found, otherwise the mistakes in line order.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => {
                if self.faults.is_empty() {
                    self.add("", "the file could not be understood", "");
                }
                self.faults.sort_by_key(|fault| (fault.line, fault.column));
                self.faults.dedup();
                Err(Mistakes(self.faults))
            }
        }
    }
}
