//! Writes JSON like Python's `json.dumps`.

use crate::data::Data;
use crate::python;

/// Output format.
pub(crate) struct Options {
    pub indent: Option<usize>,
    pub sort_keys: bool,
    pub ensure_ascii: bool,
    /// Between items, and between key and value.
    pub separators: Option<(String, String)>,
}

/// Data as JSON text.
pub(crate) fn compact(data: &Data, options: &Options) -> String {
    let mut out = String::new();
    write(data, options, 0, &mut out);
    out
}

fn newline(options: &Options, level: usize, out: &mut String) {
    if let Some(indent) = options.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent * level));
    }
}

fn write(data: &Data, options: &Options, level: usize, out: &mut String) {
    let item = options.separators.as_ref().map_or(if options.indent.is_some() { "," } else { ", " }, |(item, _)| item);
    let colon = options.separators.as_ref().map_or(": ", |(_, colon)| colon);
    match data {
        Data::Null | Data::Omit => out.push_str("null"),
        Data::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Data::Int(value) => out.push_str(&value.to_string()),
        Data::Float(value) => out.push_str(&match python::float(*value).as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            text => text.to_owned(),
        }),
        Data::Str(text) => string(text, options.ensure_ascii, out),
        Data::Tpl(tpl) => string(&tpl.source, options.ensure_ascii, out),
        Data::Opaque(value) => string(&value.to_string(), options.ensure_ascii, out),
        Data::List(list) if list.is_empty() => out.push_str("[]"),
        Data::Map(map) if map.is_empty() => out.push_str("{}"),
        Data::List(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(item);
                }
                newline(options, level + 1, out);
                write(element, options, level + 1, out);
            }
            newline(options, level, out);
            out.push(']');
        }
        Data::Map(map) => {
            out.push('{');
            let mut keys: Vec<_> = map.iter().collect();
            if options.sort_keys {
                keys.sort_by(|a, b| a.0.cmp(b.0));
            }
            for (index, (key, value)) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(item);
                }
                newline(options, level + 1, out);
                string(key, options.ensure_ascii, out);
                out.push_str(colon);
                write(value, options, level + 1, out);
            }
            newline(options, level, out);
            out.push('}');
        }
    }
}

fn string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
