//! Encodings: base64, JSON, YAML.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::{json, python, yaml};

pub(super) const FILTERS: super::Table = &[
    ("b64encode", |call| {
        let text = call.text();
        Ok(Data::from(if call.flag(usize::MAX, "urlsafe", false) { URL_SAFE.encode(text) } else { STANDARD.encode(text) }))
    }),
    ("b64decode", b64decode),
    ("to_json", |call| Ok(Data::from(json::compact(&call.input, &options(call, None))))),
    ("tojson", |call| Ok(Data::from(json::compact(&call.input, &options(call, None))))),
    ("to_nice_json", |call| Ok(Data::from(json::compact(&call.input, &options(call, Some(4)))))),
    ("from_json", |call| {
        let text = call.text();
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| bad(format!("not JSON: {error}")))?;
        Ok(Data::from_json(&value))
    }),
    ("to_yaml", |call| Ok(Data::from(yaml::dump(&call.input, &dump_options(call, false))))),
    ("to_nice_yaml", |call| Ok(Data::from(yaml::dump(&call.input, &dump_options(call, true))))),
    ("from_yaml", |call| match &call.input {
        Data::Str(text) => yaml::parse_untrusted(text).map_err(bad),
        other => Ok(other.clone()),
    }),
    ("from_yaml_all", |call| yaml::parse_untrusted_all(&call.text()).map(Data::list).map_err(bad)),
];

fn b64decode(call: &mut Call) -> Outcome {
    let text: String = call.text().chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = STANDARD
        .decode(&text)
        .or_else(|_| URL_SAFE.decode(&text))
        .or_else(|_| STANDARD_NO_PAD.decode(&text))
        .map_err(|error| bad(format!("not base64: {error}")))?;
    Ok(Data::from(String::from_utf8_lossy(&bytes).into_owned()))
}

fn options(call: &Call, indent: Option<usize>) -> json::Options {
    let separators = call.kwargs.get("separators").and_then(Data::as_list).map(|list| list.iter().map(python::str_of).collect::<Vec<_>>());
    json::Options {
        indent: call.int_arg(0, "indent").map(|indent| indent.clamp(0, 100) as usize).or(indent),
        sort_keys: call.kwargs.get("sort_keys").map_or(indent.is_some(), Data::truthy),
        ensure_ascii: call.kwargs.get("ensure_ascii").is_none_or(Data::truthy),
        separators: separators.and_then(|list| Some((list.first()?.clone(), list.get(1)?.clone()))),
    }
}

fn dump_options(call: &Call, nice: bool) -> yaml::DumpOptions {
    yaml::DumpOptions {
        indent: call.int_arg(0, "indent").unwrap_or(if nice { 4 } else { 2 }).clamp(1, 10) as usize,
        width: call.kwargs.get("width").and_then(|width| super::numbers::integer(width, 10)).map_or(80, |width| width.max(1) as usize),
        flow: call.kwargs.get("default_flow_style").is_some_and(Data::truthy),
        auto_flow: !nice && !call.kwargs.contains_key("default_flow_style"),
        sort_keys: call.kwargs.get("sort_keys").is_none_or(Data::truthy),
        explicit_start: call.kwargs.get("explicit_start").is_some_and(Data::truthy),
    }
}
