//! How types and values are named in messages.

use crate::yaml::{Node, Resolved, Value};

/// ``a, b, c``, each in backticks.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items.into_iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

/// The JSON types in words: `a whole number or text`.
pub(super) fn expected(types: &[&str]) -> String {
    let mut words: Vec<&str> = types
        .iter()
        .filter_map(|name| match *name {
            "string" => Some("text"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("true or false"),
            "array" => Some("a list"),
            "object" => Some("a mapping"),
            _ => None,
        })
        .collect();
    words.dedup();
    words.join(" or ")
}

/// A value in words: ``text `x` ``, `the number 1.5`, `a list`.
pub(super) fn found(node: &Node) -> String {
    let Value::Scalar(scalar) = &node.value else {
        return node.kind().to_owned();
    };
    let text = shortened(&scalar.text);
    match scalar.resolved {
        Resolved::Null => "nothing".to_owned(),
        Resolved::Bool(_) => format!("the boolean `{text}`"),
        Resolved::Int(_) => format!("the whole number `{text}`"),
        Resolved::Float(_) => format!("the number `{text}`"),
        Resolved::Str => format!("text `{text}`"),
    }
}

/// Shortens a text for a message: one line, at most 40 characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 40 || line.len() < text.trim_end().len() {
        format!("{} ...", line.chars().take(40).collect::<String>())
    } else {
        line.to_owned()
    }
}
