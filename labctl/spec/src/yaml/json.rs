//! From the located tree to plain JSON values.

use serde_json::{Map, Number, Value as Json};

use super::{Node, Resolved, Scalar, Value};

impl Node {
    /// The value without locations and tags. Keys become text: whole numbers in decimal (`010` gives `8`), others as written. Numbers that
    /// JSON cannot hold (infinity, beyond 64 bits) become text.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => scalar.to_json(),
            Value::Seq(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => {
                let pairs = map.entries.iter().map(|entry| (key_text(&entry.key), entry.value.to_json()));
                Json::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

impl Scalar {
    /// The resolved value; see [`Node::to_json`].
    pub fn to_json(&self) -> Json {
        let text = || Json::String(self.text.clone());
        match self.resolved {
            Resolved::Null => Json::Null,
            Resolved::Bool(value) => Json::Bool(value),
            Resolved::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => Json::String(value.to_string()),
            },
            Resolved::Float(value) => Number::from_f64(value).map_or_else(text, Json::Number),
            Resolved::Str => text(),
        }
    }
}

/// The key as text; see [`Node::to_json`].
pub(super) fn key_text(key: &Node) -> String {
    match key.as_scalar() {
        Some(Scalar { resolved: Resolved::Int(value), .. }) => value.to_string(),
        Some(scalar) => scalar.text.clone(),
        None => String::new(),
    }
}
