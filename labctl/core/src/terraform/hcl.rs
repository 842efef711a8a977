//! JSON values in HCL's own syntax.

use serde_json::Value;

/// A block of local values with this one.
pub(super) fn locals(name: &str, value: &Value) -> String {
    format!("locals {{\n  {name} = {}\n}}", expression(value, 2))
}

/// A value; its further lines are indented by `indent` and more.
fn expression(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            let lines: String = entries
                .iter()
                .map(|(key, value)| format!("{:indent$}  {} = {}\n", "", self::key(key), expression(value, indent + 2)))
                .collect();
            format!("{{\n{lines}{:indent$}}}", "")
        }
        Value::Object(_) => "{}".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| expression(item, indent)).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// An identifier as it is, anything else in quotes.
fn key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if plain && !matches!(name, "null" | "true" | "false" | "for") { name.to_owned() } else { quoted(name) }
}

/// HCL has fewer escapes than JSON: other control characters are written by number.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_form() {
        let value = json!({ "22": {}, "a": 1, "b-c": [true, null, "x\"\\\n\u{1}"], "for": { "d": "e" } });
        assert_eq!(
            locals("lab", &value),
            "locals {\n  lab = {\n    \"22\" = {}\n    a = 1\n    b-c = [true, null, \"x\\\"\\\\\\n\\u0001\"]\n    \"for\" = {\n      d = \"e\"\n    }\n  }\n}"
        );
    }
}
