//! Regular expressions with Python's syntax.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fancy_regex::Regex;
use labctl_wire::python_regex::{self, Flags};

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

/// A compiled pattern.
pub(crate) fn pattern(text: &str, ignore_case: bool, multiline: bool) -> Result<Arc<Regex>, minijinja::Error> {
    type Cache = Mutex<HashMap<(String, bool, bool), Arc<Regex>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (text.to_owned(), ignore_case, multiline);
    if let Some(found) = cache.get(&key) {
        return Ok(found.clone());
    }
    let flags = Flags { ignore_case, multiline, ..Flags::default() };
    let regex = python_regex::compile(text, flags).map_err(bad)?;
    let regex = Arc::new(regex);
    if cache.len() > 1000 {
        cache.clear();
    }
    cache.insert(key, regex.clone());
    Ok(regex)
}

fn run_error(error: fancy_regex::Error) -> minijinja::Error {
    bad(format!("regular expression failed: {error}"))
}

fn regex_replace(call: &mut Call) -> Outcome {
    let text = call.text();
    let regex =
        pattern(&call.text_arg(0, "pattern").unwrap_or_default(), call.flag(2, "ignorecase", false), call.flag(3, "multiline", false))?;
    let replacement = call.text_arg(1, "replacement").unwrap_or_default();
    let most = call.int_arg(4, "count").filter(|count| *count > 0).and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let mandatory = call.int_arg(5, "mandatory_count").unwrap_or(0);
    let (out, done) =
        python_regex::replace(&regex, &text, &replacement, most).map_err(|why| bad(format!("regular expression failed: {why}")))?;
    if usize::try_from(mandatory).is_ok_and(|mandatory| mandatory > done) {
        return Err(bad(format!("'regex_replace' filter expected at least {mandatory} replacements, got {done}")));
    }
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
