//! Paths in the controller's file system, and URLs.

use std::path::{Component, Path, PathBuf};

use super::{Call, Outcome, bad};
use crate::controller::Controller;
use crate::data::{Data, Dict};
use crate::python;

pub(super) const FILTERS: super::Table = &[
    ("basename", |call| Ok(Data::str(call.text().rsplit('/').next().unwrap_or_default()))),
    ("dirname", |call| Ok(Data::str(dirname(&call.text())))),
    ("splitext", |call| {
        let (root, extension) = splitext(&call.text());
        Ok(Data::list(vec![Data::from(root), Data::from(extension)]))
    }),
    ("realpath", |call| {
        let text = call.text();
        Ok(Data::from(Controller::current().real(Path::new(&text)).unwrap_or_else(|| normal(Path::new(&text))).display().to_string()))
    }),
    ("relpath", relpath),
    ("expanduser", |call| Ok(Data::from(expand_user(&call.text(), &Controller::current())))),
    ("expandvars", |call| Ok(Data::from(expand_vars(&call.text())))),
    ("path_join", path_join),
    ("normpath", |call| Ok(Data::from(normal(Path::new(&call.text())).display().to_string()))),
    ("commonpath", commonpath),
    ("win_basename", |call| Ok(Data::str(call.text().rsplit(['\\', '/']).next().unwrap_or_default()))),
    ("win_dirname", |call| Ok(Data::str(call.text().rsplit_once(['\\', '/']).map_or("", |(folder, _)| folder)))),
    ("fileglob", |call| Ok(crate::template::lookups::glob_files(&call.text(), &Controller::current()).into())),
    ("urlsplit", urlsplit),
    ("urlencode", urlencode),
    ("urldecode", |call| Ok(Data::from(decode_percent(&call.text().replace('+', " "))))),
];

fn dirname(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => path[..at].trim_end_matches('/'),
        None => "",
    }
}

fn splitext(path: &str) -> (String, String) {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    let lead = path[name..].len() - path[name..].trim_start_matches('.').len();
    match path[name + lead..].rfind('.') {
        Some(at) => (path[..name + lead + at].to_owned(), path[name + lead + at..].to_owned()),
        None => (path.to_owned(), String::new()),
    }
}

/// Without `.`, `..` and doubled slashes; links are not followed.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() && !path.is_absolute() {
                    out.push("..");
                }
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

fn relpath(call: &mut Call) -> Outcome {
    let here = Controller::current().here();
    let from = normal(&here.join(call.text_arg(0, "start").unwrap_or_else(|| ".".to_owned())));
    let to = normal(&here.join(call.text()));
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let mut out: PathBuf = std::iter::repeat_n("..", from.components().count() - shared).collect();
    out.extend(to.components().skip(shared));
    Ok(Data::from(if out.as_os_str().is_empty() { ".".to_owned() } else { out.display().to_string() }))
}

pub(crate) fn expand_user(path: &str, controller: &Controller) -> String {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            controller.variable("HOME").map_or_else(|| path.to_owned(), |home| home + rest)
        }
        _ => path.to_owned(),
    }
}

fn expand_vars(text: &str) -> String {
    let controller = Controller::current();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let (name, after) = match tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            Some(braced) => braced,
            None => tail.split_at(tail.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tail.len())),
        };
        match Some(name).filter(|name| !name.is_empty()).and_then(|name| controller.variable(name)) {
            Some(value) => {
                out.push_str(&value);
                rest = after;
            }
            _ => {
                out.push('$');
                rest = tail;
            }
        }
    }
    out + rest
}

fn path_join(call: &mut Call) -> Outcome {
    let mut parts: Vec<String> = match &call.input {
        Data::List(list) => list.iter().map(python::str_of).collect(),
        other => vec![python::str_of(other)],
    };
    parts.extend(call.args.iter().map(python::str_of));
    let mut out = String::new();
    for part in parts {
        if part.starts_with('/') || out.is_empty() {
            out = part;
        } else {
            if !out.ends_with('/') {
                out.push('/');
            }
            out.push_str(&part);
        }
    }
    Ok(Data::from(out))
}

fn commonpath(call: &mut Call) -> Outcome {
    let paths: Vec<PathBuf> = call.items()?.iter().map(|item| PathBuf::from(python::str_of(item))).collect();
    let mut shared = paths.first().cloned().unwrap_or_default();
    for path in &paths {
        while !path.starts_with(&shared) {
            shared.pop();
        }
    }
    Ok(Data::from(shared.display().to_string()))
}

fn urlsplit(call: &mut Call) -> Outcome {
    let text = call.text();
    let (rest, fragment) = text.split_once('#').unwrap_or((&text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') && !scheme.is_empty() => (scheme.to_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = netloc.rsplit_once('@').map_or((None, netloc), |(user, host)| (Some(user), host));
    let (name, port) = match host.strip_prefix('[') {
        Some(host) => host.split_once(']').map_or((host, None), |(name, port)| (name, port.strip_prefix(':'))),
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let text_or_none = |text: Option<&str>| text.map_or(Data::Null, Data::str);
    let mut parts = Dict::new();
    parts.insert("fragment".into(), Data::str(fragment));
    parts.insert("hostname".into(), if name.is_empty() { Data::Null } else { Data::from(name.to_lowercase()) });
    parts.insert("netloc".into(), Data::str(netloc));
    parts.insert("password".into(), text_or_none(user.and_then(|user| user.split_once(':')).map(|(_, password)| password)));
    parts.insert("path".into(), Data::str(path));
    parts.insert("port".into(), port.and_then(|port| port.parse().ok()).map_or(Data::Null, Data::Int));
    parts.insert("query".into(), Data::str(query));
    parts.insert("scheme".into(), Data::from(scheme));
    parts.insert("username".into(), text_or_none(user.map(|user| user.split_once(':').map_or(user, |(user, _)| user))));
    match call.text_arg(0, "query") {
        Some(part) => parts.get(&*part).cloned().ok_or_else(|| bad(format!("unknown URL component: {part}"))),
        None => Ok(Data::map(parts)),
    }
}

fn percent(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn urlencode(call: &mut Call) -> Outcome {
    Ok(Data::from(match &call.input {
        Data::Map(map) => map
            .iter()
            .map(|(key, value)| format!("{}={}", percent(key, false), percent(&python::str_of(value), false)))
            .collect::<Vec<_>>()
            .join("&"),
        other => percent(&python::str_of(other), true),
    }))
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
