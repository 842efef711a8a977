//! Mappings: known, unknown and missing keys; a choice of one key or one word.

use serde_json::{Map, Value as Json};

use super::{STAND_IN, Walk, nearest, types, words};
use crate::yaml::{self, Entry, Node, Span};
use crate::{duration, ident};

impl<'a> Walk<'a> {
    pub(super) fn known_keys(&self, schema: &'a Json) -> Vec<&'a str> {
        let properties = self.resolve(schema).get("properties").and_then(Json::as_object);
        properties.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Where a fault of an entry's value is reported: at the value if it is a scalar, otherwise at its key.
    fn place(entry: &Entry) -> Span {
        match entry.value.as_text() {
            Some(text) if !text.is_empty() => entry.value.span,
            _ => entry.key.span,
        }
    }

    pub(super) fn object(&mut self, schema: &'a Json, map: &yaml::Map, node: &Node, span: Span) -> Option<Json> {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
            return self.dictionary(schema, map, node);
        };
        let required: Vec<&str> = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        let mut result = Map::new();
        let mut meant = Vec::new();
        for entry in &map.entries {
            let name = entry.name();
            let Some(of) = properties.get(name) else {
                meant.extend(self.unknown_key(entry, properties.keys().map(String::as_str)));
                continue;
            };
            // `groups:` with no value is the same as no `groups:`.
            if entry.value.is_null() && entry.value.tag.is_none() && !required.contains(&name) {
                continue;
            }
            if let Some(value) = self.within_key(name, |walk| walk.value(of, &entry.value, Self::place(entry))) {
                result.insert(name.to_owned(), value);
            }
        }
        for name in &required {
            // A key already suggested by "did you mean `name`?" is not also reported as missing.
            if map.get(name).is_none() && !meant.contains(name) {
                let about = properties.get(*name).map(|schema| self.about(schema)).unwrap_or_default();
                self.fault(span, format!("`{name}` is missing"), if about.eq_ignore_ascii_case(name) { String::new() } else { about });
            }
        }
        for name in &required {
            if !result.contains_key(*name)
                && let Some(value) = properties.get(*name).and_then(|of| self.stand_in(of))
            {
                result.insert((*name).to_owned(), value);
            }
        }
        required.iter().all(|name| result.contains_key(*name)).then_some(Json::Object(result))
    }

    /// A placeholder for a faulty or missing required field while the rest is checked, if one exists that causes no further faults.
    fn stand_in(&self, schema: &'a Json) -> Option<Json> {
        let schema = self.resolve(schema);
        match schema.get("format").and_then(Json::as_str) {
            Some(ident::FORMAT) => Some(Json::from(STAND_IN)),
            Some(duration::FORMAT) => Some(Json::from("1s")),
            _ => (types(schema)? == ["array"]).then(|| Json::Array(Vec::new())),
        }
    }

    /// A mapping with arbitrary keys.
    fn dictionary(&mut self, schema: &'a Json, map: &yaml::Map, node: &Node) -> Option<Json> {
        if schema.get("x-keeps-tags").is_some() {
            return Some(node.to_json());
        }
        let of = match schema.get("additionalProperties") {
            Some(of @ Json::Object(_)) => of,
            _ => return self.free(node),
        };
        let mut result = Map::new();
        let mut good = true;
        for entry in &map.entries {
            let name = entry.name();
            match self.within_key(name, |walk| walk.value(of, &entry.value, Self::place(entry))) {
                Some(value) => drop(result.insert(name.to_owned(), value)),
                None => good = false,
            }
        }
        good.then_some(Json::Object(result))
    }

    /// Returns the known key that was probably meant.
    fn unknown_key<'k>(&mut self, entry: &Entry, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
        let name = entry.name();
        let allowed = words::list(known.clone());
        let near = nearest(name, known);
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? allowed keys: {allowed}"),
            None => format!("allowed keys: {allowed}"),
        };
        self.within(&words::shortened(name), |walk| walk.fault(entry.key.span, "there is no such key", hint));
        near
    }

    /// What a field is for: the first sentence of its description.
    fn about(&self, schema: &'a Json) -> String {
        let text = |schema: &'a Json| schema.get("description").and_then(Json::as_str);
        let description = text(schema).or_else(|| text(self.resolve(schema))).unwrap_or_default();
        let sentence = description.split(". ").next().unwrap_or_default();
        let sentence = sentence.split([';', '\n']).next().unwrap_or_default().trim_end_matches('.');
        sentence.to_owned()
    }

    /// `oneOf`: one word of several, or a mapping with one key of several.
    pub(super) fn choice(&mut self, choices: &'a [Json], node: &Node, span: Span) -> Option<Json> {
        let words: Vec<&str> = choices.iter().flat_map(constants).collect();
        if !words.is_empty() {
            return self.word(&words, node, span);
        }
        let keys: Vec<(&str, &Json)> = choices
            .iter()
            .filter_map(|choice| choice.get("properties").and_then(Json::as_object))
            .flat_map(|properties| properties.iter().map(|(name, schema)| (name.as_str(), schema)))
            .collect();
        let allowed = words::list(keys.iter().map(|(name, _)| *name));
        let Some(map) = node.as_map() else {
            let reason = format!("expected a mapping with one key, found {}", words::found(node));
            self.fault(span, reason, format!("allowed keys: {allowed}"));
            return None;
        };
        let mut result = None;
        for entry in &map.entries {
            let Some((name, of)) = keys.iter().find(|(name, _)| *name == entry.name()) else {
                self.unknown_key(entry, keys.iter().map(|(name, _)| *name));
                continue;
            };
            let value = self.within_key(name, |walk| walk.value(of, &entry.value, Self::place(entry)));
            result = value.map(|value| Json::Object([((*name).to_owned(), value)].into_iter().collect()));
        }
        if map.entries.len() == 1 {
            return result;
        }
        let found = words::list(map.keys());
        let reason = if map.entries.is_empty() { "the mapping is empty".to_owned() } else { format!("{found} cannot be combined") };
        self.fault(span, reason, format!("give exactly one of {allowed}"));
        None
    }

    fn word(&mut self, words: &[&'a str], node: &Node, span: Span) -> Option<Json> {
        if let Some(text) = node.as_text()
            && words.contains(&text)
        {
            return Some(Json::from(text));
        }
        let near = node.as_text().and_then(|text| nearest(text, words.iter().copied()));
        let allowed = words::list(words.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? allowed: {allowed}"),
            None => format!("allowed: {allowed}"),
        };
        let reason = match node.as_text() {
            Some(text) => format!("`{}` is not one of the allowed values", words::shortened(text)),
            None => format!("expected one word, found {}", words::found(node)),
        };
        self.fault(span, reason, hint);
        None
    }
}

/// The words that a schema allows, if it is one of words.
fn constants(schema: &Json) -> Vec<&str> {
    let several = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let words = schema.get("const").into_iter().chain(several);
    if types(schema) == Some(vec!["string"]) { words.filter_map(Json::as_str).collect() } else { Vec::new() }
}
