//! Text, formatted and split as in Python and Ansible.

pub(crate) mod diff;
pub(crate) mod lossless;
pub(crate) mod python_regex;

use std::fmt::Write;

use serde_json::Value;

/// The items of `a, b`, without empty ones.
pub(crate) fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// JSON with the spacing of Python's `json.dumps`.
pub(crate) fn python_json(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python_json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), python_json(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// The lines of a text, like Python's `splitlines`.
pub(crate) fn split_lines(text: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n");
    let is_end = |c| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines: Vec<Value> = text.split(is_end).map(Value::from).collect();
    if lines.last().is_some_and(|line| line == "") {
        lines.pop();
    }
    lines
}

/// Number of bytes in the value's texts, plus a few for each value.
pub(crate) fn length(value: &Value) -> usize {
    8 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + length(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Words of a command line, split like a POSIX shell but without any expansion (Python's `shlex.split`).
pub(crate) fn shell_words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("No closing quotation"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            Some(c) => {
                                word.push('\\');
                                word.push(c);
                            }
                            None => return Err("No closing quotation"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("No closing quotation"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("No escaped character"),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// A word quoted for a POSIX shell (Python's `shlex.quote`).
pub(crate) fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

/// Whether `name` matches a shell pattern with `*`, `?` and `[...]` (Python's `fnmatch`).
pub(crate) fn glob_matches(pattern: &str, name: &str) -> bool {
    fn go(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|skip| go(rest, &name[skip..])),
            Some(('?', rest)) => !name.is_empty() && go(rest, &name[1..]),
            Some(('[', rest)) => {
                let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                    return name.first() == Some(&'[') && go(rest, &name[1..]);
                };
                let Some(first) = name.first() else {
                    return false;
                };
                let (negated, set) = match rest[0] {
                    '!' | '^' => (true, &rest[1..end]),
                    _ => (false, &rest[..end]),
                };
                let mut found = false;
                let mut at = 0;
                while at < set.len() {
                    if at + 2 < set.len() && set[at + 1] == '-' {
                        found |= (set[at]..=set[at + 2]).contains(first);
                        at += 3;
                    } else {
                        found |= set[at] == *first;
                        at += 1;
                    }
                }
                found != negated && go(&rest[end + 1..], &name[1..])
            }
            Some((c, rest)) => name.first() == Some(c) && go(rest, &name[1..]),
        }
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    go(&pattern, &name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_split_like_a_shell() {
        assert_eq!(shell_words(r#"a 'b c' "d \" e" f\ g ''"#).unwrap(), ["a", "b c", "d \" e", "f g", ""]);
        assert_eq!(shell_words("a 'b"), Err("No closing quotation"));
        assert_eq!(shell_quote("it's"), r#"'it'"'"'s'"#);
        assert_eq!(shell_quote("plain-1"), "plain-1");
    }

    #[test]
    fn patterns_match_like_fnmatch() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("*", "", true),
            ("a", "b", false),
        ] {
            assert_eq!(glob_matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn json_is_spaced_like_pythons() {
        assert_eq!(python_json(&json!({"a": [1, true], "b": "x"})), r#"{"a": [1, true], "b": "x"}"#);
    }
}
