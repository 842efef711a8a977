//! How Python prints values: `str()` and `repr()`, which templates use for every value that is not text.

use crate::data::{Data, Dict};

/// `str(value)`.
pub fn str_of(value: &Data) -> String {
    match value {
        Data::Str(text) => text.to_string(),
        Data::Tpl(tpl) => tpl.source.to_string(),
        other => repr(other),
    }
}

/// `repr(value)`.
pub fn repr(value: &Data) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Data, out: &mut String) {
    match value {
        Data::Null => out.push_str("None"),
        Data::Bool(true) => out.push_str("True"),
        Data::Bool(false) => out.push_str("False"),
        Data::Int(value) => out.push_str(&value.to_string()),
        Data::Float(value) => out.push_str(&float(*value)),
        Data::Str(text) => write_str(text, out),
        Data::Tpl(tpl) => write_str(&tpl.source, out),
        Data::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(item, out);
            }
            out.push(']');
        }
        Data::Map(map) => write_dict(map, out),
        Data::Omit => out.push_str("<< omit >>"),
        Data::Opaque(value) => out.push_str(&value.to_string()),
    }
}

fn write_dict(map: &Dict, out: &mut String) {
    out.push('{');
    for (index, (key, item)) in map.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_str(key, out);
        out.push_str(": ");
        write_repr(item, out);
    }
    out.push('}');
}

/// Python prefers single quotes, unless the text contains one and no double quote.
fn write_str(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// `repr(float)`: the shortest text that reads back to the same value, with an exponent outside 1e-4 to 1e16.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = value.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_python() {
        let data = Data::from_json(&serde_json::json!({"a": [1, 2.5, null, true, "it's", "x\n\"'"]}));
        assert_eq!(repr(&data), r#"{'a': [1, 2.5, None, True, "it's", 'x\n"\'']}"#);
        assert_eq!(str_of(&Data::str("plain")), "plain");
        for (value, text) in [(1.0, "1.0"), (1e16, "1e+16"), (1.5e-7, "1.5e-07"), (0.1, "0.1"), (123456.789, "123456.789")] {
            assert_eq!(float(value), text);
        }
    }
}
