//! Regular expressions with Python's syntax.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fancy_regex::{Captures, Regex};

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::python;

pub(super) const FILTERS: super::Table = &[
    ("regex_replace", regex_replace),
    ("regex_search", regex_search),
    ("regex_findall", regex_findall),
    ("regex_escape", |call| {
        let special = |c: char| "\\.+*?()|[]{}^$#&-~ \t\n\r".contains(c);
        Ok(Data::from(call.text().chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect::<String>()))
    }),
];

/// A compiled pattern. Python's `\Z` is the very end and its `$` also matches before a last newline.
pub(crate) fn pattern(text: &str, ignore_case: bool, multiline: bool) -> Result<Arc<Regex>, minijinja::Error> {
    type Cache = Mutex<HashMap<(String, bool, bool), Arc<Regex>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (text.to_owned(), ignore_case, multiline);
    if let Some(found) = cache.get(&key) {
        return Ok(found.clone());
    }
    let mut flags = String::new();
    if ignore_case {
        flags.push('i');
    }
    if multiline {
        flags.push('m');
    }
    let prefix = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
    let regex = Regex::new(&format!("{prefix}{}", translate(text, multiline)))
        .map_err(|error| bad(format!("invalid regular expression '{text}': {error}")))?;
    let regex = Arc::new(regex);
    if cache.len() > 1000 {
        cache.clear();
    }
    cache.insert(key, regex.clone());
    Ok(regex)
}

fn translate(text: &str, multiline: bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Z') => out.push_str("\\z"),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push_str("\\\\"),
            },
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                // A bracket that comes first in a class stands for itself.
                if chars.peek() == Some(&']') {
                    out.push_str("\\]");
                    chars.next();
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            '$' if !in_class && !multiline => out.push_str("(?=\\n?\\z)"),
            other => out.push(other),
        }
    }
    out
}

/// Python's replacement text: `\1`, `\g<name>`, `\n`.
fn expand(template: &str, captures: &Captures<str>) -> String {
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    let group = |index: usize| captures.get(index).map_or("", |found| found.as_str());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('g') if chars.peek() == Some(&'<') => {
                chars.next();
                let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                match name.parse() {
                    Ok(index) => out.push_str(group(index)),
                    Err(_) => out.push_str(captures.name(&name).map_or("", |found| found.as_str())),
                }
            }
            Some(digit) if digit.is_ascii_digit() => {
                let mut index = digit.to_digit(10).unwrap_or(0) as usize;
                if let Some(second) = chars.peek().and_then(|c| c.to_digit(10)).filter(|_| index > 0) {
                    index = index * 10 + second as usize;
                    chars.next();
                }
                out.push_str(group(index));
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\\') => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

fn run_error(error: fancy_regex::Error) -> minijinja::Error {
    bad(format!("regular expression failed: {error}"))
}

fn regex_replace(call: &mut Call) -> Outcome {
    let text = call.text();
    let regex =
        pattern(&call.text_arg(0, "pattern").unwrap_or_default(), call.flag(2, "ignorecase", false), call.flag(3, "multiline", false))?;
    let replacement = call.text_arg(1, "replacement").unwrap_or_default();
    let count = call.int_arg(4, "count").filter(|count| *count > 0).unwrap_or(i64::MAX);
    let mandatory = call.int_arg(5, "mandatory_count").unwrap_or(0);
    let mut out = String::new();
    let mut at = 0;
    let mut done = 0;
    for captures in regex.captures_iter(text.as_str()) {
        let captures = captures.map_err(run_error)?;
        let Some(whole) = captures.get(0) else {
            continue;
        };
        if done >= count {
            break;
        }
        done += 1;
        out.push_str(&text[at..whole.start()]);
        out.push_str(&expand(&replacement, &captures));
        at = whole.end();
    }
    if mandatory > done {
        return Err(bad(format!("'regex_replace' filter expected at least {mandatory} replacements, got {done}")));
    }
    out.push_str(&text[at..]);
    Ok(Data::from(out))
}

fn regex_search(call: &mut Call) -> Outcome {
    let regex = pattern(
        &python::str_of(call.need(0, "regex")?),
        call.kwargs.get("ignorecase").is_some_and(Data::truthy),
        call.kwargs.get("multiline").is_some_and(Data::truthy),
    )?;
    let text = call.text();
    let Some(captures) = regex.captures(text.as_str()).map_err(run_error)? else {
        return Ok(Data::Null);
    };
    if call.args.len() < 2 {
        return Ok(captures.get(0).map_or(Data::Null, |found| Data::str(found.as_str())));
    }
    let mut out = Vec::new();
    for group in &call.args[1..] {
        let group = python::str_of(group);
        let found = if let Some(name) = group.strip_prefix("\\g<").and_then(|name| name.strip_suffix('>')) {
            match name.parse() {
                Ok(index) => captures.get(index),
                Err(_) => captures.name(name),
            }
        } else if let Some(index) = group.strip_prefix('\\').and_then(|index| index.parse().ok()) {
            captures.get(index)
        } else {
            return Err(bad("Unknown argument"));
        };
        out.push(found.map_or(Data::Null, |found| Data::str(found.as_str())));
    }
    Ok(Data::list(out))
}

fn regex_findall(call: &mut Call) -> Outcome {
    let regex = pattern(&python::str_of(call.need(0, "regex")?), call.flag(2, "ignorecase", false), call.flag(1, "multiline", false))?;
    let text = call.text();
    let mut out = Vec::new();
    for captures in regex.captures_iter(text.as_str()) {
        let captures = captures.map_err(run_error)?;
        let part = |index: usize| Data::str(captures.get(index).map_or("", |found| found.as_str()));
        out.push(match captures.len() {
            1 => part(0),
            2 => part(1),
            groups => Data::list((1..groups).map(part).collect()),
        });
    }
    Ok(Data::list(out))
}
