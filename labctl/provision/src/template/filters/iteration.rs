//! Filters that apply another filter or test to each element.

use minijinja::value::Value;

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::python;
use crate::template::methods::{attribute, value_of};
use crate::template::pending;
use crate::template::value::from_value;

pub(super) const FILTERS: super::Table = &[
    ("map", map),
    ("select", |call| choose(call, false, true)),
    ("reject", |call| choose(call, false, false)),
    ("selectattr", |call| choose(call, true, true)),
    ("rejectattr", |call| choose(call, true, false)),
    ("groupby", groupby),
];

fn call_values(call: &Call, item: &Data, skip: usize) -> Result<Vec<Value>, minijinja::Error> {
    let mut values = vec![value_of(item)?];
    for arg in call.args.iter().skip(skip) {
        values.push(value_of(arg)?);
    }
    if !call.kwargs.is_empty() {
        let mut pairs = Vec::new();
        for (name, data) in &call.kwargs {
            pairs.push((name.as_str(), value_of(data)?));
        }
        values.push(Value::from(minijinja::value::Kwargs::from_iter(pairs)));
    }
    Ok(values)
}

fn map(call: &mut Call) -> Outcome {
    let items = call.items()?;
    if call.args.is_empty() {
        let path = call.text_arg(usize::MAX, "attribute").ok_or_else(|| bad("map requires a filter argument"))?;
        let default = call.kwargs.get("default").cloned();
        let mut out = Vec::new();
        for item in items {
            out.push(match attribute(&item, &path).or_else(|| default.clone()) {
                Some(found) => found,
                None => return Err(missing(&item, &path)),
            });
        }
        return Ok(Data::list(out));
    }
    let filter = python::str_of(&call.args[0]);
    let mut out = Vec::new();
    for item in items {
        let values = call_values(call, &item, 1)?;
        let result = call.state.apply_filter(&filter, &values)?;
        if let Some(message) = pending::message_of(&result) {
            return Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, message.to_string()));
        }
        out.push(from_value(&result)?);
    }
    Ok(Data::list(out))
}

fn missing(item: &Data, path: &str) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::UndefinedError, format!("object of type '{}' has no attribute '{path}'", item.type_name()))
}

fn choose(call: &mut Call, by_attribute: bool, wanted: bool) -> Outcome {
    let path = match by_attribute {
        true => Some(python::str_of(call.need(0, "attribute")?)),
        false => None,
    };
    let first = usize::from(by_attribute);
    let test = call.args.get(first).map(python::str_of);
    let mut out = Vec::new();
    for item in call.items()? {
        let subject = match &path {
            Some(path) => attribute(&item, path),
            None => Some(item.clone()),
        };
        let holds = match &test {
            None => match &subject {
                Some(subject) => subject.truthy(),
                None => return Err(missing(&item, path.as_deref().unwrap_or_default())),
            },
            Some(test) => {
                let mut values = call_values(call, subject.as_ref().unwrap_or(&Data::Null), first + 1)?;
                if subject.is_none() {
                    values[0] = pending::undefined(format!(
                        "object of type '{}' has no attribute '{}'",
                        item.type_name(),
                        path.as_deref().unwrap_or_default()
                    ));
                }
                call.state.perform_test(test, &values)?
            }
        };
        if holds == wanted {
            out.push(item);
        }
    }
    Ok(Data::list(out))
}

fn groupby(call: &mut Call) -> Outcome {
    let path = python::str_of(call.need(0, "attribute")?);
    let default = call.arg(1, "default").cloned();
    let mut keyed = Vec::new();
    for item in call.items()? {
        let key = attribute(&item, &path).or_else(|| default.clone()).ok_or_else(|| missing(&item, &path))?;
        keyed.push((vec![key.clone()], Data::list(vec![key, item])));
    }
    let mut groups: Vec<(Data, Vec<Data>)> = Vec::new();
    for pair in super::lists::sort_by_key(keyed, false, false)? {
        let Data::List(pair) = pair else { continue };
        match groups.last_mut() {
            Some((key, items)) if *key == pair[0] => items.push(pair[1].clone()),
            _ => groups.push((pair[0].clone(), vec![pair[1].clone()])),
        }
    }
    // Each group is a pair that can also be accessed as `group.grouper` and `group.list`.
    Ok(Data::list(groups.into_iter().map(|(key, items)| Data::list(vec![key, Data::list(items)])).collect()))
}
