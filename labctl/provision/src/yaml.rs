//! YAML as variables: templates are distinguished when reading, and output is formatted like PyYAML's `dump`.

use std::path::Path;
use std::sync::Arc;

use labctl_spec::mistake::Mistake;
use labctl_spec::yaml::{self, DuplicateKeys, Node, Options, Resolved, Value};

use crate::data::{Data, Dict, Place};
use crate::python;

fn options() -> Options {
    // Ansible uses the last of repeated keys and warns.
    Options { duplicate_keys: DuplicateKeys::LastWins, ..Options::default() }
}

/// The documents of a user's file; repeated keys are accepted.
pub(crate) fn documents(text: &str, file: &Path) -> Result<Vec<Node>, Mistake> {
    Ok(yaml::parse_all(text, file, &options())?.into_iter().map(|document| document.root).collect())
}

/// A tree as data. `trusted`: strings with template markers are templates.
pub(crate) fn data(node: &Node, file: &Arc<str>, trusted: bool) -> Data {
    match &node.value {
        Value::Scalar(scalar) => match scalar.resolved {
            Resolved::Null => Data::Null,
            Resolved::Bool(value) => Data::Bool(value),
            Resolved::Int(value) => i64::try_from(value).map_or(Data::Float(value as f64), Data::Int),
            Resolved::Float(value) => Data::Float(value),
            Resolved::Str if trusted && node.tag.as_deref() != Some("!unsafe") => {
                Data::text(&scalar.text, &Place { file: file.clone(), line: node.span.line })
            }
            Resolved::Str => Data::str(&scalar.text),
        },
        Value::Seq(items) => Data::list(items.iter().map(|item| data(item, file, trusted)).collect()),
        Value::Map(map) => Data::map(dict(map, file, trusted)),
    }
}

/// A mapping as data.
pub(crate) fn dict(map: &yaml::Map, file: &Arc<str>, trusted: bool) -> Dict {
    map.entries.iter().map(|entry| (key(&entry.key), data(&entry.value, file, trusted))).collect()
}

/// The text of a key, printed like Python if it isn't text.
fn key(node: &Node) -> Arc<str> {
    match data(node, &Arc::from(""), false) {
        Data::Str(text) => text,
        other => Arc::from(python::str_of(&other)),
    }
}

/// One document of untrusted text.
pub(crate) fn parse_untrusted(text: &str) -> Result<Data, String> {
    Ok(parse_untrusted_all(text)?.into_iter().next().unwrap_or_default())
}

/// All documents of untrusted text.
pub(crate) fn parse_untrusted_all(text: &str) -> Result<Vec<Data>, String> {
    let nodes = documents(text, Path::new("<text>")).map_err(|fault| format!("not YAML: {}", fault.reason))?;
    Ok(nodes.iter().map(|node| data(node, &Arc::from(""), false)).collect())
}

/// Output format.
pub(crate) struct DumpOptions {
    pub indent: usize,
    pub width: usize,
    /// Everything on one line with brackets.
    pub flow: bool,
    /// Brackets only for lists and mappings of scalars.
    pub auto_flow: bool,
    pub sort_keys: bool,
    pub explicit_start: bool,
}

/// Data as YAML text.
pub(crate) fn dump(data: &Data, options: &DumpOptions) -> String {
    let mut out = String::new();
    if options.explicit_start {
        out.push_str("---\n");
    }
    match data {
        Data::Map(map) if !map.is_empty() && !inline(data, options) => block(data, options, 0, &mut out),
        Data::List(list) if !list.is_empty() && !inline(data, options) => block(data, options, 0, &mut out),
        Data::Map(_) | Data::List(_) => {
            flow(data, options, options.indent, &mut out);
            out.push('\n');
        }
        other => {
            out.push_str(&scalar(other, options.indent, options, 0));
            out.push_str(if matches!(other, Data::Str(text) if quoted(text)) { "\n" } else { "\n...\n" });
        }
    }
    out
}

fn inline(data: &Data, options: &DumpOptions) -> bool {
    let plain = |data: &Data| !matches!(data, Data::Map(_) | Data::List(_));
    options.flow
        || options.auto_flow
            && match data {
                Data::Map(map) => map.values().all(plain),
                Data::List(list) => list.iter().all(plain),
                _ => true,
            }
}

fn sorted<'a>(map: &'a Dict, options: &DumpOptions) -> Vec<(&'a Arc<str>, &'a Data)> {
    let mut pairs: Vec<_> = map.iter().collect();
    if options.sort_keys {
        pairs.sort_by(|a, b| a.0.cmp(b.0));
    }
    pairs
}

/// The column of the next character, from 0.
fn column(out: &str) -> usize {
    out.rfind('\n').map_or(out, |at| &out[at + 1..]).chars().count()
}

/// Writes a value with brackets. `level` is the indentation of its contents.
fn flow(data: &Data, options: &DumpOptions, level: usize, out: &mut String) {
    let item_begins = |first: bool, out: &mut String| {
        if !first {
            out.push(',');
        }
        if column(out) > options.width {
            out.push('\n');
            out.push_str(&" ".repeat(level));
        } else if !first {
            out.push(' ');
        }
    };
    let deeper = level + options.indent;
    match data {
        Data::Map(map) => {
            out.push('{');
            for (index, (key, value)) in sorted(map, options).into_iter().enumerate() {
                item_begins(index == 0, out);
                flow(&Data::Str(key.clone()), options, level, out);
                out.push_str(": ");
                flow(value, options, deeper_of(value, level, deeper), out);
            }
            out.push('}');
        }
        Data::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                item_begins(index == 0, out);
                flow(item, options, deeper_of(item, level, deeper), out);
            }
            out.push(']');
        }
        other => {
            let text = scalar(other, level + options.indent, options, column(out));
            out.push_str(&text);
        }
    }
}

/// The indentation inside an item: nested brackets are indented further.
fn deeper_of(item: &Data, level: usize, deeper: usize) -> usize {
    if matches!(item, Data::Map(_) | Data::List(_)) { deeper } else { level }
}

fn nested(value: &Data, options: &DumpOptions) -> bool {
    match value {
        Data::Map(map) => !map.is_empty() && !inline(value, options),
        Data::List(list) => !list.is_empty() && !inline(value, options),
        _ => false,
    }
}

fn block(data: &Data, options: &DumpOptions, level: usize, out: &mut String) {
    let pad = " ".repeat(level);
    match data {
        Data::Map(map) => {
            for (index, (key, value)) in sorted(map, options).into_iter().enumerate() {
                if index > 0 || out.is_empty() || out.ends_with('\n') {
                    out.push_str(&pad);
                }
                out.push_str(&scalar(&Data::Str(key.clone()), level + options.indent, options, level));
                out.push(':');
                if nested(value, options) {
                    out.push('\n');
                    // PyYAML does not indent a list below its key, and Ansible's dumper does not change that.
                    let deeper = if matches!(value, Data::List(_)) { level } else { level + options.indent };
                    block(value, options, deeper, out);
                } else {
                    out.push(' ');
                    value_text(value, options, level + options.indent, out);
                }
            }
        }
        Data::List(list) => {
            for item in list.iter() {
                if out.is_empty() || out.ends_with('\n') {
                    out.push_str(&pad);
                }
                out.push('-');
                // Only nested items are aligned to the indentation.
                out.push_str(&" ".repeat(if nested(item, options) { options.indent.max(2) - 1 } else { 1 }));
                if nested(item, options) {
                    block(item, options, level + options.indent.max(2), out);
                } else {
                    value_text(item, options, level + options.indent, out);
                }
            }
        }
        other => value_text(other, options, level, out),
    }
}

fn value_text(value: &Data, options: &DumpOptions, level: usize, out: &mut String) {
    match value {
        Data::Map(_) | Data::List(_) => flow(value, options, level, out),
        other => {
            let text = scalar(other, level, options, column(out));
            out.push_str(&text);
        }
    }
    out.push('\n');
}

/// Whether text needs quotes to be read back as text.
fn quoted(text: &str) -> bool {
    text.is_empty()
        || text.starts_with([' ', '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'])
            && !(text.starts_with(['-', '?', ':']) && text.len() > 1 && !text[1..].starts_with(' '))
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.contains(['\n', '\t', '\u{7f}'])
        || text.chars().any(char::is_control)
        || !matches!(parse_untrusted(text), Ok(Data::Str(read)) if &*read == text)
}

/// A scalar that starts at `column`; its continuation lines are indented by `level`.
fn scalar(data: &Data, level: usize, options: &DumpOptions, column: usize) -> String {
    match data {
        Data::Null | Data::Omit => "null".to_owned(),
        Data::Bool(value) => value.to_string(),
        Data::Int(value) => value.to_string(),
        Data::Float(value) => match python::float(*value).as_str() {
            "nan" => ".nan".to_owned(),
            "inf" => ".inf".to_owned(),
            "-inf" => "-.inf".to_owned(),
            text => text.to_owned(),
        },
        Data::Str(text) => string(text, level, options, column),
        Data::Tpl(tpl) => string(&tpl.source, level, options, column),
        other => string(&python::str_of(other), level, options, column),
    }
}

fn string(text: &str, level: usize, options: &DumpOptions, column: usize) -> String {
    let special = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}');
    if text.chars().any(special) || (text.contains('\n') && text.starts_with(' ')) {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\0' => out.push_str("\\0"),
                '\x1b' => out.push_str("\\e"),
                c if special(c) && (c as u32) < 0x100 => out.push_str(&format!("\\x{:02X}", c as u32)),
                c if special(c) => out.push_str(&format!("\\u{:04X}", c as u32)),
                c => out.push(c),
            }
        }
        out.push('"');
        return out;
    }
    if text.contains('\n') {
        // Single-quoted over several lines: a line break is written as an empty line.
        let pad = " ".repeat(level);
        let mut out = String::from("'");
        let lines: Vec<&str> = text.split('\n').collect();
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                let next_empty = lines.get(index - 1).is_some_and(|line| line.is_empty()) && index > 1;
                out.push_str(if next_empty { "\n" } else { "\n\n" });
                if !line.is_empty() || index + 1 == lines.len() {
                    out.push_str(&pad);
                }
            }
            let begin = if index == 0 { column + 1 } else { level };
            out.push_str(&fold(&line.replace('\'', "''"), level, options.width, begin));
        }
        out.push('\'');
        return out;
    }
    if quoted(text) {
        return format!("'{}'", fold(&text.replace('\'', "''"), level, options.width, column + 1));
    }
    fold(text, level, options.width, column)
}

/// Breaks long text at single spaces, as PyYAML does beyond its width. The text starts at `column`.
fn fold(text: &str, level: usize, width: usize, column: usize) -> String {
    let pad = format!("\n{}", " ".repeat(level));
    let mut out = String::new();
    let mut column = column;
    let words: Vec<&str> = text.split(' ').collect();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            // Lines are not broken at the first or last space of the text, or at one of several spaces.
            let single = !words[index - 1].is_empty() && !word.is_empty();
            if column > width && single {
                out.push_str(&pad);
                column = level;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out
}
