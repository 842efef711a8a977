//! Global functions of templates.

use std::sync::Mutex;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};
use std::sync::Arc;

use super::filters::{arguments, bad, passed_on};
use super::methods::value_of;
use super::value::Mutable;
use super::{lookups, pending};
use crate::clock;
use crate::controller::Controller;
use crate::data::Data;
use crate::python;

const NAMES: &[&str] = &[
    "range",
    "dict",
    "namespace",
    "debug",
    "lookup",
    "query",
    "q",
    "now",
    "__run_date",
    "undef",
    "__mutable",
    "__declaring",
    "joiner",
    "cycler",
    "lipsum",
    "super",
    "self",
];

/// Whether a name is a function unless there is a variable with that name.
pub(crate) fn is_function(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Registers the functions.
pub(crate) fn register(env: &mut Environment<'static>) {
    env.add_function("lookup", |values: Rest<ValueOrKwargs>| lookup_if_defined(&values.into_values(), None));
    env.add_function("query", |values: Rest<ValueOrKwargs>| lookup_if_defined(&values.into_values(), Some(true)));
    env.add_function("q", |values: Rest<ValueOrKwargs>| lookup_if_defined(&values.into_values(), Some(true)));
    env.add_function("undef", |values: Rest<ValueOrKwargs>| {
        let values = values.into_values();
        let hint = values.iter().find_map(|value| if value.is_kwargs() { value.get_attr("hint").ok() } else { Some(value.clone()) });
        pending::undefined(
            hint.filter(|hint| !hint.is_undefined()).map_or_else(|| "undef() was called".to_owned(), |hint| hint.to_string()),
        )
    });
    env.add_function("now", |values: Rest<ValueOrKwargs>| -> Result<Value, Error> {
        let (_, kwargs) = arguments(&values.into_values())?;
        let seconds = Controller::current().now("now()");
        Ok(match kwargs.get("fmt") {
            Some(format) => Value::from(clock::format(seconds, &python::str_of(format))),
            None => Value::from_object(Moment(seconds)),
        })
    });
    // A function, so that the time is only read if the variable is used.
    env.add_function("__run_date", || clock::format(Controller::current().now("template_run_date"), "%Y-%m-%d %H:%M:%S"));
    env.add_function("__mutable", |value: Value| Mutable::of(&value).map_or(value, Value::from_object));
    env.add_function("__declaring", |declares: bool| pending::declare(declares));
    env.add_function("dict", |values: Rest<ValueOrKwargs>| -> Result<Value, Error> {
        let values = values.into_values();
        let mut pairs: Vec<(String, Value)> = Vec::new();
        for value in values.iter() {
            if value.is_kwargs() {
                let named = Kwargs::try_from(value.clone())?;
                for name in named.args() {
                    pairs.push((name.to_owned(), named.peek(name)?));
                }
            } else if value.kind() == ValueKind::Map {
                for (key, item) in value.as_object().and_then(|object| object.try_iter_pairs()).into_iter().flatten() {
                    pairs.push((key.to_string(), item));
                }
            } else {
                for pair in value.try_iter()? {
                    pairs.push((pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?));
                }
            }
        }
        Ok(Value::from_pairs(pairs))
    });
    env.add_function("joiner", |separator: Option<String>| {
        Value::from_object(Joiner { separator: separator.unwrap_or_else(|| ", ".to_owned()), used: Mutex::new(false) })
    });
    env.add_function("cycler", |values: Rest<Value>| Value::from_object(Cycler { items: values.to_vec(), at: Mutex::new(0) }));
}

fn lookup_if_defined(values: &[Value], list: Option<bool>) -> Result<Value, Error> {
    match arguments(values) {
        Ok(_) => lookup(values, list),
        Err(error) => passed_on(values, Err(error)),
    }
}

/// `lookup(...)`: a list's items joined by commas, unless `wantlist`; `query` always returns a list.
fn lookup(values: &[Value], list: Option<bool>) -> Result<Value, Error> {
    let (mut args, mut kwargs) = arguments(values)?;
    if args.is_empty() {
        return Err(bad("lookup needs a plugin name"));
    }
    let name = python::str_of(&args.remove(0));
    let want_list = list.unwrap_or_else(|| kwargs.get("wantlist").is_some_and(Data::truthy));
    kwargs.shift_remove("wantlist");
    let errors = kwargs.shift_remove("errors").map_or_else(|| "strict".to_owned(), |errors| python::str_of(&errors));
    let found = match lookups::run(&name, &args, &kwargs) {
        Ok(found) => found,
        Err(_) if matches!(errors.as_str(), "ignore" | "warn") => {
            return value_of(&if want_list { Data::list(Vec::new()) } else { Data::Null });
        }
        Err(message) => {
            return Err(match message.strip_prefix(lookups::UNDEFINED) {
                Some(message) => Error::new(minijinja::ErrorKind::UndefinedError, message.to_owned()),
                None => bad(format!("The lookup plugin '{name}' failed: {message}")),
            });
        }
    };
    if want_list {
        return value_of(&Data::list(found));
    }
    value_of(&match found.as_slice() {
        [only] => only.clone(),
        [] => Data::list(Vec::new()),
        many if many.iter().all(|item| matches!(item, Data::Str(_))) => {
            Data::from(many.iter().map(python::str_of).collect::<Vec<_>>().join(","))
        }
        many => Data::list(many.to_vec()),
    })
}

/// A point in time, for `now()`.
#[derive(Debug)]
struct Moment(f64);

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let part = match key.as_str()? {
            "year" => "%Y",
            "month" => "%m",
            "day" => "%d",
            "hour" => "%H",
            "minute" => "%M",
            "second" => "%S",
            _ => return None,
        };
        clock::format(self.0, part).parse::<i64>().ok().map(Value::from)
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        Ok(match method {
            "strftime" => Value::from(clock::format(self.0, args.first().and_then(Value::as_str).unwrap_or_default())),
            "isoformat" => Value::from(clock::format(self.0, "%Y-%m-%dT%H:%M:%S.%f")),
            "timestamp" => Value::from(self.0),
            "date" => Value::from(clock::format(self.0, "%Y-%m-%d")),
            _ => return Err(Error::from(minijinja::ErrorKind::UnknownMethod)),
        })
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&clock::format(self.0, "%Y-%m-%d %H:%M:%S.%f"))
    }
}

#[derive(Debug)]
struct Joiner {
    separator: String,
    used: Mutex<bool>,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Value::from(if std::mem::replace(&mut *used, true) { self.separator.as_str() } else { "" }))
    }
}

#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: Mutex<usize>,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        let mut at = self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = self.items.len().max(1);
        let item = self.items.get(*at % count).cloned().unwrap_or_default();
        match method {
            "next" => *at = (*at + 1) % count,
            "reset" => *at = 0,
            _ => return Err(Error::from(minijinja::ErrorKind::UnknownMethod)),
        }
        Ok(item)
    }
}
