//! Python's methods of strings, lists and mappings, and the two operators that the dialect turns into methods.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::pending;
use super::scope::Scope;
use super::value::{MapValue, Mutable, MutableItems, from_value, key_text, to_value};
use crate::data::Data;
use crate::python;

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Called by minijinja for each method that the object itself doesn't have.
pub(crate) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if pending::is_undefined(value) {
        // `nope.split(',') | default('x')` gives the default.
        return Ok(if value.is_undefined() { pending::undefined("a value is undefined") } else { value.clone() });
    }
    match method {
        "__getitem__" => return item(value, args.first().unwrap_or(&Value::UNDEFINED)),
        "__mod__" => {
            return Ok(Value::from(super::printf::format(value.as_str().unwrap_or_default(), args)?));
        }
        _ => {}
    }
    if let Some(mutable) = value.downcast_object_ref::<Mutable>()
        && let Some(result) = change(mutable, method, args)?
    {
        return Ok(result);
    }
    match value.kind() {
        ValueKind::String => super::str_methods::call(state, value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => of_map(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => of_list(value, method, args),
        ValueKind::Number => match method {
            "is_integer" => Ok(Value::from(f64::try_from(value.clone())?.fract() == 0.0)),
            "bit_length" => Ok(Value::from(value.as_i64().map_or(0, |n| 64 - n.unsigned_abs().leading_zeros()))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        },
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `value[key]`
pub(crate) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    if let Some(message) = pending::message_of(key) {
        return Err(Error::new(ErrorKind::UndefinedError, message.to_string()));
    }
    let found = value.get_item(key)?;
    if !found.is_undefined() {
        return if let ValueKind::Invalid = found.kind() { Err(bad(found.to_string())) } else { Ok(found) };
    }
    let key_repr = from_value(key).map(|key| python::repr(&key)).unwrap_or_default();
    Ok(pending::undefined(match value.kind() {
        ValueKind::Map => format!("object of type 'dict' has no attribute {key_repr}"),
        ValueKind::Seq | ValueKind::Iterable => {
            format!("object of type 'list' has no attribute {key_repr}")
        }
        ValueKind::String => format!("object of type 'str' has no attribute {key_repr}"),
        _ => format!("object has no attribute {key_repr}"),
    }))
}

fn pairs(value: &Value) -> Vec<(Value, Value)> {
    value.as_object().and_then(|object| object.try_iter_pairs()).map(Iterator::collect).unwrap_or_default()
}

fn of_map(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "items" => Value::from_iter(pairs(value).into_iter().map(|(key, item)| Value::from(vec![key, item]))),
        "keys" => Value::from_iter(pairs(value).into_iter().map(|(key, _)| key)),
        "values" => Value::from_iter(pairs(value).into_iter().map(|(_, item)| item)),
        "get" => {
            let key = args.first().ok_or_else(|| bad("get expected at least 1 argument, got 0"))?;
            let found = match value.downcast_object_ref::<MapValue>() {
                Some(map) => match key_text(key).filter(|name| map.map.contains_key(&**name)) {
                    Some(_) => value.get_item(key)?,
                    None => Value::UNDEFINED,
                },
                None => value.get_item(key)?,
            };
            if found.is_undefined() { args.get(1).cloned().unwrap_or_else(|| Value::from(())) } else { found }
        }
        "copy" => value.clone(),
        "has_key" | "__contains__" => {
            Value::from(args.first().is_some_and(|key| value.get_item(key).is_ok_and(|item| !item.is_undefined())))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let wanted = args.first();
    Ok(match method {
        "index" => {
            let at = value.try_iter()?.position(|item| Some(&item) == wanted);
            Value::from(at.ok_or_else(|| bad(format!("{} is not in list", wanted.map(ToString::to_string).unwrap_or_default())))?)
        }
        "count" => Value::from(value.try_iter()?.filter(|item| Some(item) == wanted).count()),
        "copy" => value.clone(),
        // Lists in variables can't be changed; where these methods work, their result is never used.
        "append" | "extend" | "insert" | "remove" | "pop" | "clear" | "sort" | "reverse" => {
            return Err(bad(format!(
                "{method}() changes a list in place, which works only on lists made by {{% set %}} in the same template"
            )));
        }
        "union" | "intersection" | "difference" | "symmetric_difference" | "issubset" | "issuperset" => {
            let other: Vec<Value> = wanted.map(|other| other.try_iter().map(Iterator::collect)).transpose()?.unwrap_or_default();
            let own: Vec<Value> = value.try_iter()?.collect();
            match method {
                "union" => {
                    let mut all = own;
                    for item in other {
                        if !all.contains(&item) {
                            all.push(item);
                        }
                    }
                    Value::from(all)
                }
                "intersection" => Value::from_iter(own.into_iter().filter(|item| other.contains(item))),
                "difference" => Value::from_iter(own.into_iter().filter(|item| !other.contains(item))),
                "symmetric_difference" => {
                    let mut all: Vec<Value> = own.iter().filter(|item| !other.contains(item)).cloned().collect();
                    all.extend(other.into_iter().filter(|item| !own.contains(item)));
                    Value::from(all)
                }
                "issubset" => Value::from(own.iter().all(|item| other.contains(item))),
                _ => Value::from(other.iter().all(|item| own.contains(item))),
            }
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Methods that change a list or mapping made by `{% set %}`.
fn change(mutable: &Mutable, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    // The argument may be the object itself, so it is read before locking.
    let added: Vec<(Value, Value)> = if method == "update" { args.iter().flat_map(pairs).collect() } else { Vec::new() };
    let more: Vec<Value> =
        if method == "extend" { args.first().map(|list| list.try_iter()).transpose()?.into_iter().flatten().collect() } else { Vec::new() };
    let mut items = mutable.items.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let none = Some(Value::from(()));
    let first = args.first().cloned();
    Ok(match (&mut *items, method) {
        (MutableItems::List(list), "append") => {
            list.extend(first);
            none
        }
        (MutableItems::List(list), "extend") => {
            list.extend(more);
            none
        }
        (MutableItems::List(list), "insert") => {
            let at = first.and_then(|at| at.as_usize()).unwrap_or(0).min(list.len());
            if let Some(item) = args.get(1) {
                list.insert(at, item.clone());
            }
            none
        }
        (MutableItems::List(list), "pop") => match first.and_then(|at| at.as_i64()) {
            Some(at) => {
                let at = if at < 0 { at + list.len() as i64 } else { at };
                let at = usize::try_from(at).ok().filter(|at| *at < list.len()).ok_or_else(|| bad("pop index out of range"))?;
                Some(list.remove(at))
            }
            None => Some(list.pop().ok_or_else(|| bad("pop from empty list"))?),
        },
        (MutableItems::List(list), "remove") => {
            if let Some(at) = list.iter().position(|item| Some(item) == first.as_ref()) {
                list.remove(at);
            }
            none
        }
        (MutableItems::List(list), "reverse") => {
            list.reverse();
            none
        }
        (MutableItems::List(list), "sort") => {
            list.sort();
            none
        }
        (MutableItems::List(list), "clear") => {
            list.clear();
            none
        }
        (MutableItems::Map(map), "update") => {
            map.extend(added.into_iter().map(|(key, item)| (key.to_string(), item)));
            none
        }
        (MutableItems::Map(map), "setdefault") => {
            let key = first.map(|key| key.to_string()).unwrap_or_default();
            let default = args.get(1).cloned().unwrap_or_else(|| Value::from(()));
            Some(Mutable::opened(map.entry(key).or_insert(default)))
        }
        (MutableItems::Map(map), "clear") => {
            map.clear();
            none
        }
        (MutableItems::Map(map), "__setitem__") => {
            let key = first.map(|key| key.to_string()).unwrap_or_default();
            map.insert(key, args.get(1).cloned().unwrap_or_else(|| Value::from(())));
            none
        }
        (MutableItems::Map(map), "pop") => {
            let key = first.map(|key| key.to_string()).unwrap_or_default();
            match map.shift_remove(&key).or_else(|| args.get(1).cloned()) {
                Some(value) => Some(value),
                None => return Err(bad(format!("'{key}'"))),
            }
        }
        _ => None,
    })
}

/// The value at an attribute path such as `a.b.0`, as used by `map(attribute=)` and similar filters.
pub(crate) fn attribute(data: &Data, path: &str) -> Option<Data> {
    let mut at = data.clone();
    for part in path.split('.') {
        at = match &at {
            Data::Map(map) => map.get(part)?.clone(),
            Data::List(list) => list.get(part.parse::<usize>().ok()?)?.clone(),
            Data::Opaque(value) => {
                let found = value.get_attr(part).ok()?;
                if pending::is_undefined(&found) {
                    pending::accept(&found);
                    return None;
                }
                from_value(&found).ok()?
            }
            _ => return None,
        };
    }
    Some(at)
}

/// Data as a template value in the scope of this thread's evaluation.
pub(crate) fn value_of(data: &Data) -> Result<Value, Error> {
    let scope = Scope::current().ok_or_else(|| bad("no evaluation is in progress"))?;
    Ok(to_value(data, &scope))
}
