//! Methods of Python's `str`.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Error, ErrorKind, State};

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Splits like Python: on runs of white space, or on each separator, at most `limit` times.
pub(crate) fn split(text: &str, separator: Option<&str>, limit: Option<usize>) -> Vec<String> {
    match separator {
        Some(separator) => match limit {
            Some(limit) => text.splitn(limit.saturating_add(1), separator).map(str::to_owned).collect(),
            None => text.split(separator).map(str::to_owned).collect(),
        },
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                if limit.is_some_and(|limit| parts.len() >= limit) {
                    parts.push(rest.trim_end().to_owned());
                    break;
                }
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                parts.push(rest[..end].to_owned());
                rest = rest[end..].trim_start();
            }
            parts
        }
    }
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<usize>) -> Vec<String> {
    let Some(limit) = limit else {
        return split(text, separator, None);
    };
    let mut parts: Vec<String> = match separator {
        Some(separator) => text.rsplitn(limit.saturating_add(1), separator).map(str::to_owned).collect(),
        None => text.trim_end().rsplitn(limit.saturating_add(1), char::is_whitespace).map(str::to_owned).collect(),
    };
    parts.reverse();
    parts
}

/// Makes each word's first letter upper case and the rest lower case, where a word is a run of letters.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

/// Makes the first letter upper case and the rest lower case.
pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect(),
        None => String::new(),
    }
}

fn starts(args: &[Value], test: impl Fn(&str) -> bool) -> Result<Value, Error> {
    let wanted = args.first().ok_or_else(|| bad("at least 1 argument is needed"))?;
    Ok(Value::from(match wanted.as_str() {
        Some(text) => test(text),
        None => wanted.try_iter()?.any(|item| item.as_str().is_some_and(&test)),
    }))
}

pub(crate) fn call(_: &mut State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    let strip_set = || -> Result<Option<String>, Error> {
        let (chars,): (Option<String>,) = from_args(args)?;
        Ok(chars)
    };
    let within = |set: &Option<String>, c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    let arg = |at: usize| args.get(at).filter(|arg| !arg.is_kwargs()).map(ToString::to_string).unwrap_or_default();
    let pad = |left: bool, both: bool| -> Result<Value, Error> {
        let width = args.first().and_then(Value::as_usize).ok_or_else(|| bad("a width is needed"))?.min(1 << 20);
        let fill = args.get(1).map_or(" ".to_owned(), ToString::to_string);
        let missing = width.saturating_sub(text.chars().count());
        let before = if both {
            missing / 2 + (missing & width & 1)
        } else if left {
            missing
        } else {
            0
        };
        Ok(Value::from(format!("{}{text}{}", fill.repeat(before), fill.repeat(missing - before))))
    };
    Ok(match method {
        "upper" => Value::from(text.to_uppercase()),
        "lower" | "casefold" => Value::from(text.to_lowercase()),
        "title" => Value::from(title(text)),
        "capitalize" => Value::from(capitalize(text)),
        "swapcase" => Value::from(
            text.chars()
                .map(|c| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() })
                .collect::<String>(),
        ),
        "strip" => {
            let set = strip_set()?;
            Value::from(text.trim_matches(|c| within(&set, c)))
        }
        "lstrip" => {
            let set = strip_set()?;
            Value::from(text.trim_start_matches(|c| within(&set, c)))
        }
        "rstrip" => {
            let set = strip_set()?;
            Value::from(text.trim_end_matches(|c| within(&set, c)))
        }
        "split" | "rsplit" => {
            let (separator, limit, kwargs): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = separator.or(kwargs.get::<Option<String>>("sep").unwrap_or_default());
            let limit = limit.or(kwargs.get::<Option<i64>>("maxsplit").unwrap_or_default()).and_then(|limit| usize::try_from(limit).ok());
            if separator.as_deref() == Some("") {
                return Err(bad("empty separator"));
            }
            let parts =
                if method == "split" { split(text, separator.as_deref(), limit) } else { rsplit(text, separator.as_deref(), limit) };
            Value::from(parts)
        }
        "splitlines" => Value::from(text.lines().map(str::to_owned).collect::<Vec<_>>()),
        "partition" => match text.split_once(&arg(0)) {
            Some((before, after)) => Value::from(vec![before.to_owned(), arg(0), after.to_owned()]),
            None => Value::from(vec![text.to_owned(), String::new(), String::new()]),
        },
        "rpartition" => match text.rsplit_once(&arg(0)) {
            Some((before, after)) => Value::from(vec![before.to_owned(), arg(0), after.to_owned()]),
            None => Value::from(vec![String::new(), String::new(), text.to_owned()]),
        },
        "startswith" => starts(args, |prefix| text.starts_with(prefix))?,
        "endswith" => starts(args, |suffix| text.ends_with(suffix))?,
        "removeprefix" => Value::from(text.strip_prefix(&arg(0)).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(&arg(0)).unwrap_or(text)),
        "replace" => match args.get(2).and_then(Value::as_usize) {
            Some(count) => Value::from(text.replacen(&arg(0), &arg(1), count)),
            None => Value::from(text.replace(&arg(0), &arg(1))),
        },
        "join" => {
            let list = args.first().ok_or_else(|| bad("join() takes exactly one argument"))?;
            let mut parts = Vec::new();
            for item in list.try_iter()? {
                parts.push(item.as_str().ok_or_else(|| bad(format!("sequence item {}: expected str instance", parts.len())))?.to_owned());
            }
            Value::from(parts.join(text))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let found = if method.starts_with('r') { text.rfind(&arg(0)) } else { text.find(&arg(0)) };
            match found {
                Some(byte) => Value::from(text[..byte].chars().count()),
                None if method.ends_with("index") => return Err(bad("substring not found")),
                None => Value::from(-1),
            }
        }
        "count" => Value::from(text.matches(&arg(0)).count()),
        "format" => Value::from(super::printf::braces(text, args)?),
        "zfill" => {
            let width = args.first().and_then(Value::as_usize).unwrap_or(0).min(1 << 20);
            let sign = usize::from(text.starts_with(['-', '+']));
            let mut out = text.to_owned();
            out.insert_str(sign, &"0".repeat(width.saturating_sub(text.chars().count())));
            Value::from(out)
        }
        "ljust" => pad(false, false)?,
        "rjust" => pad(true, false)?,
        "center" => pad(true, true)?,
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "islower" => Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isidentifier" => {
            Value::from(text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_'))
        }
        "expandtabs" => Value::from(text.replace('\t', "        ")),
        "encode" | "decode" => Value::from(text),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}
