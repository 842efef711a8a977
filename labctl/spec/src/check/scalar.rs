//! Single values: types, ranges, formats.

use serde_json::Value as Json;

use super::{Walk, format, words};
use crate::duration;
use crate::yaml::{Node, Resolved, Scalar, Span, Value};

/// The JSON type of a node. A value that YAML 1.1 reads as a sexagesimal number (`8080:53`) is text where text is allowed: nobody means
/// 484853.
pub(super) fn type_of(node: &Node, allowed: &[&str]) -> &'static str {
    let Value::Scalar(scalar) = &node.value else {
        return if node.as_seq().is_some() { "array" } else { "object" };
    };
    match scalar.resolved {
        Resolved::Int(_) | Resolved::Float(_) if scalar.text.contains(':') && allowed.contains(&"string") => "string",
        Resolved::Null => "null",
        Resolved::Bool(_) => "boolean",
        Resolved::Int(_) => "integer",
        Resolved::Float(_) => "number",
        Resolved::Str => "string",
    }
}

impl<'a> Walk<'a> {
    pub(super) fn scalar(&mut self, schema: &'a Json, scalar: &Scalar, found: &str, span: Span) -> Option<Json> {
        if found == "string" {
            let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
            if scalar.text.is_empty() {
                self.fault(span, "the text is empty", "write a value");
                return None;
            }
            if let Err((reason, hint)) = format::check(format, &scalar.text) {
                self.fault(span, reason, hint);
                return None;
            }
            return Some(Json::from(scalar.text.as_str()));
        }
        if let Resolved::Int(value) = scalar.resolved {
            let bound = |name: &str| schema.get(name).and_then(Json::as_i64).map(i128::from);
            let (least, most) = (bound("minimum"), bound("maximum"));
            if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
                let hint = match (least, most) {
                    (Some(least), Some(most)) => format!("allowed: {least} to {most}"),
                    (Some(least), None) => format!("allowed: {least} or more"),
                    (None, Some(most)) => format!("allowed: {most} or less"),
                    (None, None) => String::new(),
                };
                self.fault(span, format!("{value} is out of range"), hint);
                return None;
            }
        }
        Some(scalar.to_json())
    }

    /// Whether the items of a list are single values.
    fn holds_scalars(&self, schema: &'a Json) -> bool {
        let items = schema.get("items").map(|items| self.resolve(items));
        let object = |schema: &Json| super::types(schema).is_some_and(|types| types.contains(&"object"));
        items.is_some_and(|items| !object(items))
    }

    pub(super) fn wrong_type(&mut self, types: &[&str], node: &Node, span: Span, schema: &'a Json) {
        let reason = format!("expected {}, found {}", words::expected(types), words::found(node));
        let text = node.as_text().map(words::shortened);
        let duration = schema.get("format").and_then(Json::as_str) == Some(duration::FORMAT);
        let quoted = node.as_scalar().is_some_and(Scalar::quoted);
        let hint = match (&node.value, &text) {
            _ if types.contains(&"array") && (text.is_none() || node.is_null()) => "begin each entry with `- `".to_owned(),
            (Value::Scalar(_), _) if node.is_null() => "write a value after the colon".to_owned(),
            (_, Some(text)) if duration && text.parse::<u64>().is_ok() => {
                format!("write its unit: {text}s")
            }
            (_, Some(text)) if types.contains(&"string") => {
                format!("put it in quotes: \"{text}\"")
            }
            (_, Some(text)) if types.contains(&"array") && self.holds_scalars(schema) => {
                format!("write a list: [{text}]")
            }
            _ if types.contains(&"array") => "begin each entry with `- `".to_owned(),
            (_, Some(_)) if types.contains(&"boolean") => "write true or false, without quotes".to_owned(),
            (_, Some(text)) if types.contains(&"integer") && quoted && text.parse::<i64>().is_ok() => {
                format!("remove the quotes: {text}")
            }
            (_, Some(_)) if types.contains(&"integer") => "write a number without a unit or quotes".to_owned(),
            _ if types.contains(&"object") => match self.known_keys(schema) {
                keys if keys.is_empty() => "write `key: value` lines below it, indented".to_owned(),
                keys => format!("write `key: value` lines below it; allowed keys: {}", words::list(keys)),
            },
            _ => "write a single value".to_owned(),
        };
        let at = if text.is_some_and(|text| !text.is_empty()) { node.span } else { span };
        self.fault(at, reason, hint);
    }
}
