//! Filters: Jinja2's and Ansible's, one family per file.

mod encoding;
mod hashes;
mod iteration;
mod lists;
mod maps;
mod network;
mod numbers;
pub(crate) mod paths;
pub(crate) mod patterns;
mod structure;
mod text;

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::methods::value_of;
use super::pending;
use super::value::{from_value, is_variable};
use crate::data::Data;
use crate::python;

/// A call of a filter: its input, arguments, and the running template.
pub(crate) struct Call<'a, 'template, 'env> {
    pub state: &'a mut State<'template, 'env>,
    /// Name of the filter, for messages.
    pub name: &'static str,
    pub input: Data,
    pub args: Vec<Data>,
    pub kwargs: IndexMap<String, Data>,
}

pub(crate) use lists::cartesian;
pub(crate) use maps::each_subelement;

pub(crate) type Outcome = Result<Data, Error>;
type Filter = fn(&mut Call<'_, '_, '_>) -> Outcome;
type Table = &'static [(&'static str, Filter)];

pub(crate) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Splits call arguments into positional and named ones; undefined values among them are errors.
pub(crate) fn arguments(values: &[Value]) -> Result<(Vec<Data>, IndexMap<String, Data>), Error> {
    let mut args = Vec::new();
    let mut kwargs = IndexMap::new();
    for value in values {
        if value.is_kwargs() {
            let named = Kwargs::try_from(value.clone())?;
            for name in named.args() {
                kwargs.insert(name.to_owned(), defined(&named.peek::<Value>(name)?)?);
            }
        } else {
            args.push(defined(value)?);
        }
    }
    Ok((args, kwargs))
}

fn defined(value: &Value) -> Outcome {
    if pending::is_nothing(value) {
        return Ok(Data::str(""));
    }
    match pending::message_of(value) {
        Some(message) => Err(Error::new(ErrorKind::UndefinedError, message.to_string())),
        None => from_value(value),
    }
}

impl Call<'_, '_, '_> {
    /// An argument by position or by name.
    pub(crate) fn arg(&self, position: usize, name: &str) -> Option<&Data> {
        self.kwargs.get(name).or_else(|| self.args.get(position))
    }

    pub(crate) fn text_arg(&self, position: usize, name: &str) -> Option<String> {
        self.arg(position, name).filter(|data| !matches!(data, Data::Null)).map(python::str_of)
    }

    pub(crate) fn int_arg(&self, position: usize, name: &str) -> Option<i64> {
        self.arg(position, name).and_then(|data| numbers::integer(data, 10))
    }

    pub(crate) fn flag(&self, position: usize, name: &str, default: bool) -> bool {
        self.arg(position, name).map_or(default, Data::truthy)
    }

    pub(crate) fn need(&self, position: usize, name: &str) -> Result<&Data, Error> {
        self.arg(position, name).ok_or_else(|| bad(format!("filter '{}' needs the argument '{name}'", self.name)))
    }

    /// The input as text.
    pub(crate) fn text(&self) -> String {
        python::str_of(&self.input)
    }

    /// The input's elements: a list's items, a mapping's keys, a text's characters.
    pub(crate) fn items(&self) -> Result<Vec<Data>, Error> {
        elements(&self.input).ok_or_else(|| bad(format!("'{}' object is not iterable", self.input.type_name())))
    }

    /// An argument that is a list.
    pub(crate) fn list_arg(&self, position: usize, name: &str) -> Result<Vec<Data>, Error> {
        let data = self.need(position, name)?;
        elements(data).ok_or_else(|| bad(format!("'{}' object is not iterable", data.type_name())))
    }
}

/// The elements that iteration yields.
pub(crate) fn elements(data: &Data) -> Option<Vec<Data>> {
    match data {
        Data::List(list) => Some(list.to_vec()),
        Data::Map(map) => Some(map.keys().map(|key| Data::Str(key.clone())).collect()),
        Data::Str(text) => Some(text.chars().map(|c| Data::str(c.to_string())).collect()),
        _ => None,
    }
}

/// A filter that needs a value but gets an undefined one returns undefined, with the same reason: `(nope | int) | default(5)` is 5.
pub(super) fn passed_on(given: &[Value], result: Result<Value, Error>) -> Result<Value, Error> {
    match result {
        Err(error) if error.kind() == ErrorKind::UndefinedError => {
            for value in given {
                accept_within(value);
            }
            Ok(pending::undefined(error.detail().unwrap_or("a value is undefined")))
        }
        result => result,
    }
}

/// Accepts undefined values among arguments, named ones too, and in lists made by the template: the filter's result stands for them.
fn accept_within(value: &Value) {
    pending::accept(value);
    if let Some(named) = value.is_kwargs().then(|| Kwargs::try_from(value.clone()).ok()).flatten() {
        for name in named.args() {
            if let Ok(value) = named.peek::<Value>(name) {
                pending::accept(&value);
            }
        }
    } else if value.kind() == ValueKind::Seq && !is_variable(value) {
        for item in value.try_iter().into_iter().flatten() {
            pending::accept(&item);
        }
    }
}

const TABLES: [Table; 11] = [
    encoding::FILTERS,
    hashes::FILTERS,
    iteration::FILTERS,
    lists::FILTERS,
    maps::FILTERS,
    network::FILTERS,
    numbers::FILTERS,
    paths::FILTERS,
    patterns::FILTERS,
    structure::FILTERS,
    text::FILTERS,
];

/// The names of all filters in the tables.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().flatten().map(|(name, _)| *name)
}

/// Registers all filters.
pub(crate) fn register(env: &mut Environment<'static>) {
    for &(name, filter) in TABLES.into_iter().flatten() {
        let run = move |state: &mut State, values: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let values = values.into_values();
            let result = arguments(&values).and_then(|(mut args, kwargs)| {
                if args.is_empty() {
                    return Err(bad(format!("filter '{name}' needs an input")));
                }
                let input = args.remove(0);
                filter(&mut Call { state, name, input, args, kwargs })
            });
            passed_on(&values, result.and_then(|result| value_of(&result)))
        };
        for prefix in ["", "ansible.builtin.", "ansible.utils.", "ansible.netcommon.", "community.general."] {
            env.add_filter(format!("{prefix}{name}"), run);
        }
    }
    for prefix in ["", "ansible.builtin."] {
        for name in ["default", "d"] {
            env.add_filter(format!("{prefix}{name}"), default);
        }
        env.add_filter(format!("{prefix}mandatory"), mandatory);
        env.add_filter(format!("{prefix}ternary"), ternary);
        env.add_filter(format!("{prefix}type_debug"), type_debug);
    }
}

/// `default` accepts undefined values, also as the fallback value.
fn default(values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = values.into_values();
    let mut args = Vec::new();
    let mut kwargs = None;
    for value in values.iter() {
        pending::accept(value);
        if value.is_kwargs() { kwargs = Some(Kwargs::try_from(value.clone())?) } else { args.push(value.clone()) }
    }
    let named = |name: &str| kwargs.as_ref().and_then(|kwargs| kwargs.peek::<Value>(name).ok());
    let Some(input) = args.first().cloned() else {
        return Err(bad("filter 'default' needs an input"));
    };
    let fallback = named("default_value").or_else(|| args.get(1).cloned()).unwrap_or_else(|| Value::from(""));
    let boolean = named("boolean").or_else(|| args.get(2).cloned()).is_some_and(|value| value.is_true());
    if pending::is_undefined(&input) || (boolean && !input.is_true()) {
        pending::release(&fallback);
        return Ok(fallback);
    }
    Ok(input)
}

/// `ternary` accepts undefined values for the branch that it does not choose.
fn ternary(values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = values.into_values();
    let (named, given): (Vec<&Value>, Vec<&Value>) = values.iter().partition(|value| value.is_kwargs());
    let Some((&input, chosen)) = given.split_first() else {
        return Err(bad("filter 'ternary' needs an input"));
    };
    if pending::is_undefined(input) {
        return passed_on(&values, arguments(std::slice::from_ref(input)).map(|_| input.clone()));
    }
    let kwargs = named.first().map(|value| Kwargs::try_from((*value).clone())).transpose()?;
    let argument = |at: usize, name: &str| {
        chosen.get(at).map(|value| (*value).clone()).or_else(|| kwargs.as_ref().and_then(|kwargs| kwargs.peek::<Value>(name).ok()))
    };
    for value in &values {
        accept_within(value);
    }
    let choice = match argument(2, "none_val").filter(|none| !none.is_none()) {
        Some(none) if input.is_none() => none,
        _ if from_value(input)?.truthy() => argument(0, "true_val").ok_or_else(|| bad("missing required argument: true_val"))?,
        _ => argument(1, "false_val").ok_or_else(|| bad("missing required argument: false_val"))?,
    };
    pending::release(&choice);
    Ok(choice)
}

fn mandatory(values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = values.into_values();
    let input = values.first().cloned().unwrap_or_default();
    let Some(message) = pending::message_of(&input) else {
        return Ok(input);
    };
    let name = message.split('\'').nth(1).map(|name| format!("'{name}' ")).unwrap_or_default();
    let given = values.iter().skip(1).find_map(|value| match value.is_kwargs() {
        true => value.get_attr("msg").ok().filter(|msg| !msg.is_undefined()),
        false => Some(value.clone()),
    });
    let text = given.map_or_else(|| format!("Mandatory variable {name}not defined."), |msg| msg.to_string());
    pending::accept(&input);
    Err(Error::new(ErrorKind::UndefinedError, text))
}

fn type_debug(values: Rest<Value>) -> Result<Value, Error> {
    let input = values.first().cloned().unwrap_or_default();
    if pending::is_undefined(&input) {
        pending::accept(&input);
        return Ok(Value::from("UndefinedMarker"));
    }
    if input.kind() == ValueKind::Bytes {
        return Ok(Value::from("bytes"));
    }
    if input.is_tuple() {
        return Ok(Value::from("tuple"));
    }
    Ok(Value::from(from_value(&input)?.type_name()))
}
