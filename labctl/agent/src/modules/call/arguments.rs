//! Arguments of a task: declared per module, checked and converted as Ansible's `AnsibleModule` does.

use std::path::PathBuf;

use serde_json::{Map, Number, Value};

use crate::modules::call::outcome::Fault;
use crate::modules::text::{comma_list, python_json};

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Path,
    Flag,
    Int,
    Float,
    List,
    Dict,
    Raw,
}

/// A parameter of a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    aliases: &'static [&'static str],
    default: Option<&'static str>,
    required: bool,
    choices: &'static [&'static str],
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, aliases: &[], default: None, required: false, choices: &[] }
}

pub(crate) const fn text(name: &'static str) -> Param {
    param(name, Kind::Text)
}

pub(crate) const fn path(name: &'static str) -> Param {
    param(name, Kind::Path)
}

pub(crate) const fn int(name: &'static str) -> Param {
    param(name, Kind::Int)
}

pub(crate) const fn float(name: &'static str) -> Param {
    param(name, Kind::Float)
}

pub(crate) const fn list(name: &'static str) -> Param {
    param(name, Kind::List)
}

pub(crate) const fn dict(name: &'static str) -> Param {
    param(name, Kind::Dict)
}

pub(crate) const fn raw(name: &'static str) -> Param {
    param(name, Kind::Raw)
}

/// A boolean that defaults to false.
pub(crate) const fn flag(name: &'static str) -> Param {
    param(name, Kind::Flag)
}

/// A boolean without a default.
pub(crate) const fn param_flag(name: &'static str) -> Param {
    param(name, Kind::Flag)
}

/// A boolean that defaults to true.
pub(crate) const fn on(name: &'static str) -> Param {
    param(name, Kind::Flag).or("yes")
}

impl Param {
    pub(crate) const fn aka(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    pub(crate) const fn must(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) const fn of(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }
}

/// Parameters that every module that creates files accepts besides its own.
pub(crate) const FILE_PARAMS: &[Param] = &[
    raw("mode"),
    text("owner"),
    text("group"),
    text("seuser"),
    text("serole"),
    text("setype"),
    text("selevel"),
    text("attributes").aka(&["attr"]),
    flag("unsafe_writes"),
];

/// Checked arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    values: Map<String, Value>,
}

impl Arguments {
    /// Checks `given` against `params` (and [`FILE_PARAMS`] if `files`) of `module`.
    pub(crate) fn check(module: &str, given: &Map<String, Value>, params: &[Param], files: bool) -> Result<Self, Fault> {
        let all: Vec<&Param> = params.iter().chain(if files { FILE_PARAMS } else { &[] }.iter()).collect();
        let mut values = Map::new();
        let mut unknown = Vec::new();
        for (key, value) in given {
            if key.starts_with('_') {
                values.insert(key.clone(), value.clone());
                continue;
            }
            match all.iter().find(|p| p.name == key || p.aliases.contains(&key.as_str())) {
                Some(_) if value.is_null() => {}
                Some(param) => {
                    let value = coerce(param, value)?;
                    choice(param, &value)?;
                    values.insert(param.name.to_owned(), value);
                }
                None => unknown.push(key.as_str()),
            }
        }
        if !unknown.is_empty() {
            return Err(unsupported(module, &unknown, &all));
        }
        let missing: Vec<&str> = all.iter().filter(|p| p.required && !values.contains_key(p.name)).map(|p| p.name).collect();
        if !missing.is_empty() {
            return Err(format!("missing required arguments: {}", missing.join(", ")).into());
        }
        for param in &all {
            if let Some(default) = param.default
                && !values.contains_key(param.name)
            {
                values.insert(param.name.to_owned(), coerce(param, &Value::String(default.into()))?);
            }
        }
        Ok(Self { values })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A text that was given or has a default.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str)
    }

    /// Like [`text`](Self::text), empty if absent.
    pub(crate) fn str(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A text that is given and not empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A boolean; false if absent.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A boolean; none if absent.
    pub(crate) fn maybe(&self, name: &str) -> Option<bool> {
        self.values.get(name).and_then(Value::as_bool)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.values.get(name).and_then(Value::as_i64)
    }

    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        self.values.get(name).and_then(Value::as_f64)
    }

    /// Items as texts; empty if absent.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            Some(Value::Array(items)) => items.iter().map(as_text).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn dict(&self, name: &str) -> Option<&Map<String, Value>> {
        self.values.get(name).and_then(Value::as_object)
    }

    /// Refuses a call with none of `names`.
    pub(crate) fn one_of(&self, names: &[&str]) -> Result<(), Fault> {
        if names.iter().any(|name| self.has(name)) {
            return Ok(());
        }
        Err(format!("one of the following is required: {}", names.join(", ")).into())
    }

    /// Refuses a call with more than one of `names`.
    pub(crate) fn exclusive(&self, names: &[&str]) -> Result<(), Fault> {
        let given = names.iter().filter(|name| self.has(name)).count();
        if given < 2 {
            return Ok(());
        }
        Err(format!("parameters are mutually exclusive: {}", names.join("|")).into())
    }

    /// Refuses a call that lacks any of `names` while `key` is `value`.
    pub(crate) fn needed_if(&self, key: &str, value: &str, names: &[&str]) -> Result<(), Fault> {
        if self.text(key) != Some(value) {
            return Ok(());
        }
        let missing: Vec<&str> = names.iter().copied().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(format!("{key} is {value} but all of the following are missing: {missing}").into())
    }
}

fn unsupported(module: &str, unknown: &[&str], all: &[&Param]) -> Fault {
    let mut names: Vec<&str> = all.iter().map(|p| p.name).collect();
    let mut aliases: Vec<&str> = all.iter().flat_map(|p| p.aliases.iter().copied()).collect();
    let mut unknown = unknown.to_vec();
    names.sort_unstable();
    aliases.sort_unstable();
    unknown.sort_unstable();
    let aliases = match aliases.is_empty() {
        true => String::new(),
        false => format!(" ({})", aliases.join(", ")),
    };
    format!(
        "Unsupported parameters for ({module}) module: {}. Supported parameters include: {}{aliases}.",
        unknown.join(", "),
        names.join(", ")
    )
    .into()
}

fn choice(param: &Param, value: &Value) -> Result<(), Fault> {
    if param.choices.is_empty() {
        return Ok(());
    }
    let refuse = |got: &str| -> Fault {
        let name = param.name;
        let many = if param.kind == Kind::List { "one or more" } else { "one" };
        format!("value of {name} must be {many} of: {}, got: {got}", param.choices.join(", ")).into()
    };
    match value {
        Value::Array(items) => {
            for item in items.iter().map(as_text) {
                if !param.choices.contains(&item.as_str()) {
                    return Err(refuse(&item));
                }
            }
            Ok(())
        }
        other => {
            let got = as_text(other);
            if param.choices.contains(&got.as_str()) { Ok(()) } else { Err(refuse(&got)) }
        }
    }
}

/// The value as text, as Python would convert it.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null => String::new(),
        other => python_json(other),
    }
}

/// The words for true and false of YAML 1.1 and Ansible.
pub(crate) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

fn coerce(param: &Param, value: &Value) -> Result<Value, Fault> {
    let refuse = |wanted: &str, why: String| -> Fault {
        format!("argument '{}' is of type {} and we were unable to convert to {wanted}: {why}", param.name, type_name(value)).into()
    };
    match param.kind {
        Kind::Raw => Ok(value.clone()),
        Kind::Text => Ok(Value::String(as_text(value))),
        Kind::Path => Ok(Value::String(expand_home(&as_text(value)))),
        Kind::Flag => as_flag(value).map(Value::Bool).ok_or_else(|| {
            refuse(
                "bool",
                format!("The value '{}' is not a valid boolean. Valid booleans include: 0, 1, 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", as_text(value)),
            )
        }),
        Kind::Int => as_int(value).map(|n| Value::Number(n.into())).ok_or_else(|| {
            refuse("int", format!("'{}' cannot be converted to an int", as_text(value)))
        }),
        Kind::Float => match value {
            Value::Number(number) => Ok(Value::Number(number.clone())),
            _ => as_text(value)
                .trim()
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or_else(|| {
                    refuse("float", format!("'{}' cannot be converted to a float", as_text(value)))
                }),
        },
        Kind::List => match value {
            Value::Array(_) => Ok(value.clone()),
            Value::String(text) => {
                Ok(Value::Array(comma_list(text).into_iter().map(Value::String).collect()))
            }
            Value::Number(_) | Value::Bool(_) => Ok(Value::Array(vec![Value::String(as_text(value))])),
            Value::Object(_) => Ok(Value::Array(vec![value.clone()])),
            Value::Null => Ok(Value::Array(Vec::new())),
        },
        Kind::Dict => match value {
            Value::Object(_) => Ok(value.clone()),
            Value::String(text) if text.trim_start().starts_with('{') => {
                serde_json::from_str(text).map_err(|err| refuse("dict", err.to_string()))
            }
            Value::String(text) if text.contains('=') => Ok(Value::Object(
                comma_list(text)
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(key, value)| (key.trim().to_owned(), Value::String(value.to_owned())))
                    .collect(),
            )),
            _ => Err(refuse("dict", "dictionary requested, could not parse JSON or key=value".into())),
        },
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

/// Expands `~` and `~/x` to the home of the current user.
fn expand_home(path: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
            format!("{}{rest}", home.as_deref().unwrap_or("/root"))
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
