//! Checks the structure of a file against the JSON schema of its plain type: unknown keys, wrong types, values out of range.
//!
//! The schema is generated from the Rust types, so the two cannot drift apart. Unlike a general validator, this one supports only what
//! those types produce, keeps lines and columns, and continues after a fault: it drops faulty optional fields from its result so that the
//! semantic checks can examine the rest.

mod format;
mod nearest;
mod object;
mod scalar;
mod words;

pub(crate) use nearest::nearest;
pub(crate) use words::list;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::mistake::Mistake;
use crate::yaml::{Document, Node, Span, Value};

/// Replaces an invalid lab name while the rest of the file is checked; never returned to a caller.
pub(crate) const STAND_IN: &str = "unnamed";

/// For each list in the result that lost faulty items, by JSON pointer: the positions in the file of the items that remain.
pub(crate) type Kept = BTreeMap<String, Vec<usize>>;

/// The result of checking a document.
pub(crate) struct Checked {
    /// The value without its faulty fields and items; `None` if a required field is faulty.
    pub(crate) json: Option<Json>,
    pub(crate) kept: Kept,
    pub(crate) faults: Vec<Mistake>,
}

/// Checks a document.
pub(crate) fn check(schema: &Json, document: &Document) -> Checked {
    let definitions = schema.get("$defs");
    let mut walk = Walk { document, definitions, faults: Vec::new(), path: String::new(), pointer: String::new(), kept: Kept::new() };
    let json = walk.value(schema, &document.root, document.root.span);
    Checked { json, kept: walk.kept, faults: walk.faults }
}

struct Walk<'a> {
    document: &'a Document,
    definitions: Option<&'a Json>,
    faults: Vec<Mistake>,
    /// The field being checked, such as `nodes[1].memory`.
    path: String,
    /// Its JSON pointer in the result.
    pointer: String,
    kept: Kept,
}

impl<'a> Walk<'a> {
    fn fault(&mut self, span: Span, reason: impl Into<String>, hint: impl Into<String>) {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        let fault = self.document.fault(span, reason, hint);
        self.faults.push(Mistake { field: self.path.clone(), ..fault });
    }

    /// Checks a part of the current field.
    fn within<T>(&mut self, step: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let result = look(self);
        self.path.truncate(length);
        result
    }

    /// Checks the value of a key of the current field.
    fn within_key<T>(&mut self, key: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(key));
        let result = self.within(key, look);
        self.pointer.truncate(length);
        result
    }

    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let name = schema.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        match (name, self.definitions) {
            (Some(name), Some(definitions)) => definitions.get(name).unwrap_or(schema),
            _ => schema,
        }
    }

    /// Checks a value. `span` is where a fault of the value as a whole is reported: the key of a list or mapping.
    fn value(&mut self, schema: &'a Json, node: &Node, span: Span) -> Option<Json> {
        let schema = self.resolve(schema);
        if let Some(tag) = &node.tag {
            let reason = format!("the tag `{tag}` has no meaning here");
            self.fault(node.span, reason, "remove it, or quote a value that begins with `!`");
            return None;
        }
        if schema.get("enum").is_some() {
            return self.choice(std::slice::from_ref(schema), node, span);
        }
        if let Some(choices) = schema.get("oneOf").and_then(Json::as_array) {
            return self.choice(choices, node, span);
        }
        if let Some(variants) = schema.get("anyOf").and_then(Json::as_array) {
            return self.variants(variants, node, span);
        }
        let Some(types) = types(schema) else {
            return self.free(node);
        };
        let found = scalar::type_of(node, &types);
        if !types.iter().any(|allowed| *allowed == found || *allowed == "number" && found == "integer") {
            self.wrong_type(&types, node, span, schema);
            return None;
        }
        match &node.value {
            Value::Scalar(scalar) => self.scalar(schema, scalar, found, node.span),
            Value::Seq(items) => self.items(schema, items, span),
            Value::Map(map) => self.object(schema, map, node, span),
        }
    }

    /// A value of any shape, such as a variable's. Tags would be lost in the conversion to JSON, so they are rejected.
    fn free(&mut self, node: &Node) -> Option<Json> {
        let before = self.faults.len();
        self.refuse_tags(node);
        (self.faults.len() == before).then(|| node.to_json())
    }

    fn refuse_tags(&mut self, node: &Node) {
        if let Some(tag) = &node.tag {
            let reason = format!("the tag `{tag}` has no meaning here");
            self.fault(node.span, reason, "remove it, or move the value to a file that a play loads");
        }
        match &node.value {
            Value::Scalar(_) => {}
            Value::Seq(items) => items.iter().for_each(|item| self.refuse_tags(item)),
            Value::Map(map) => map.entries.iter().for_each(|entry| self.refuse_tags(&entry.value)),
        }
    }

    /// `anyOf`: an optional type, or types that differ in their YAML kind.
    fn variants(&mut self, variants: &'a [Json], node: &Node, span: Span) -> Option<Json> {
        let variants: Vec<&Json> = variants.iter().map(|variant| self.resolve(variant)).collect();
        let is_null = |variant: &&Json| variant.get("type").and_then(Json::as_str) == Some("null");
        if node.is_null() && variants.iter().any(is_null) {
            return Some(Json::Null);
        }
        let real: Vec<&Json> = variants.into_iter().filter(|variant| !is_null(variant)).collect();
        if let [only] = real.as_slice() {
            return self.value(only, node, span);
        }
        let allowed: Vec<&str> = real.iter().filter_map(|variant| types(variant)).flatten().collect();
        let found = scalar::type_of(node, &allowed);
        let fits = |variant: &&&Json| types(variant).is_some_and(|types| types.contains(&found));
        match real.iter().find(fits) {
            Some(variant) => self.value(variant, node, span),
            None => {
                self.wrong_type(&allowed, node, span, &Json::Null);
                None
            }
        }
    }

    fn items(&mut self, schema: &'a Json, items: &[Node], span: Span) -> Option<Json> {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.fault(span, "the list is empty", "give at least one entry, each beginning with `- `");
            return None;
        }
        let Some(of) = schema.get("items") else {
            return Some(items.iter().map(Node::to_json).collect());
        };
        let mut good = Vec::new();
        let mut kept = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let length = self.pointer.len();
            self.pointer += &format!("/{}", good.len());
            let checked = self.within(&format!("[{index}]"), |walk| walk.value(of, item, item.span));
            self.pointer.truncate(length);
            if let Some(json) = checked {
                good.push(json);
                kept.push(index);
            }
        }
        if kept.len() < items.len() {
            self.kept.insert(self.pointer.clone(), kept);
        }
        Some(Json::Array(good))
    }
}

/// The allowed JSON types of a schema; `None` if it allows everything.
fn types(schema: &Json) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Json::String(one) => Some(vec![one.as_str()]),
        Json::Array(several) => Some(several.iter().filter_map(Json::as_str).collect()),
        _ => None,
    }
}

/// A key as a step of a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
