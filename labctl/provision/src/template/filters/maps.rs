//! Mappings.

use std::sync::Arc;

use super::lists::sort_by_key;
use super::{Call, Outcome, bad, elements};
use crate::data::{Data, Dict};
use crate::python;
use crate::template::methods::attribute;

pub(super) const FILTERS: super::Table = &[
    ("combine", combine),
    ("dict2items", dict2items),
    ("items2dict", items2dict),
    ("items", |call| Ok(Data::list(pairs(call)?.into_iter().map(|(key, value)| Data::list(vec![Data::Str(key), value])).collect()))),
    ("dictsort", dictsort),
    ("extract", extract),
    ("subelements", subelements),
    ("rekey_on_member", rekey_on_member),
    ("attr", |call| {
        let name = call.text_arg(0, "name").unwrap_or_default();
        attribute(&call.input, &name)
            .map_or_else(|| Ok(Data::Opaque(crate::template::pending::undefined(format!("object has no attribute '{name}'")))), Ok)
    }),
    ("xmlattr", |call| {
        let pairs = pairs(call)?;
        Ok(Data::from(pairs.iter().map(|(key, value)| format!(" {key}=\"{}\"", python::str_of(value))).collect::<String>()))
    }),
];

fn pairs(call: &Call) -> Result<Vec<(Arc<str>, Data)>, minijinja::Error> {
    let map = call.input.as_map().ok_or_else(|| bad(format!("{} requires a dictionary, got {}", call.name, call.input.type_name())))?;
    Ok(map.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Merges two mappings as Ansible's `combine` does.
fn merge(low: &Dict, high: &Dict, recursive: bool, lists: &str) -> Dict {
    let mut out = low.clone();
    for (key, value) in high {
        let merged = match (out.get(key), value) {
            (Some(Data::Map(a)), Data::Map(b)) if recursive => Data::map(merge(a, b, true, lists)),
            (Some(Data::List(a)), Data::List(b)) if lists != "replace" => {
                let without =
                    |items: &[Data], other: &[Data]| items.iter().filter(|item| !other.contains(item)).cloned().collect::<Vec<_>>();
                Data::list(match lists {
                    "keep" => a.to_vec(),
                    "append" => a.iter().chain(b.iter()).cloned().collect(),
                    "prepend" => b.iter().chain(a.iter()).cloned().collect(),
                    "append_rp" => without(a, b).into_iter().chain(b.iter().cloned()).collect(),
                    _ => b.iter().cloned().chain(without(a, b)).collect(),
                })
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), merged);
    }
    out
}

fn combine(call: &mut Call) -> Outcome {
    let recursive = call.flag(usize::MAX, "recursive", false);
    let lists = call.kwargs.get("list_merge").map_or_else(|| "replace".to_owned(), python::str_of);
    let mut out = Dict::new();
    let mut flat = Vec::new();
    for arg in std::iter::once(&call.input).chain(&call.args) {
        match arg {
            Data::List(list) => flat.extend(list.iter().cloned()),
            other => flat.push(other.clone()),
        }
    }
    for arg in &flat {
        let map =
            arg.as_map().ok_or_else(|| bad(format!("failed to combine variables, expected dicts but got a '{}'", arg.type_name())))?;
        out = merge(&out, map, recursive, &lists);
    }
    Ok(Data::map(out))
}

fn pair(key_name: &str, key: Data, value_name: &str, value: Data) -> Data {
    Data::map([(Arc::from(key_name), key), (Arc::from(value_name), value)].into_iter().collect())
}

fn dict2items(call: &mut Call) -> Outcome {
    let key_name = call.text_arg(0, "key_name").unwrap_or_else(|| "key".to_owned());
    let value_name = call.text_arg(1, "value_name").unwrap_or_else(|| "value".to_owned());
    Ok(Data::list(pairs(call)?.into_iter().map(|(key, value)| pair(&key_name, Data::Str(key), &value_name, value)).collect()))
}

fn items2dict(call: &mut Call) -> Outcome {
    let key_name = call.text_arg(0, "key_name").unwrap_or_else(|| "key".to_owned());
    let value_name = call.text_arg(1, "value_name").unwrap_or_else(|| "value".to_owned());
    let mut out = Dict::new();
    for item in call.items()? {
        let missing =
            || bad(format!("items2dict requires each dictionary in the list to contain the keys '{key_name}' and '{value_name}'"));
        let field = |name: &str| match &item {
            // Pairs, as produced by `zip`, are accessed by position.
            Data::List(pair) => name.parse::<usize>().ok().and_then(|at| pair.get(at)),
            other => other.get(name),
        };
        let key = field(&key_name).ok_or_else(missing)?;
        out.insert(Arc::from(python::str_of(key)), field(&value_name).ok_or_else(missing)?.clone());
    }
    Ok(Data::map(out))
}

fn dictsort(call: &mut Call) -> Outcome {
    let case = call.flag(0, "case_sensitive", false);
    let by_value = call.text_arg(1, "by").as_deref() == Some("value");
    let reverse = call.flag(2, "reverse", false);
    let keyed = pairs(call)?
        .into_iter()
        .map(|(key, value)| (vec![if by_value { value.clone() } else { Data::Str(key.clone()) }], Data::list(vec![Data::Str(key), value])))
        .collect();
    Ok(Data::list(sort_by_key(keyed, reverse, case)?))
}

fn extract(call: &mut Call) -> Outcome {
    let mut at = call.need(0, "container")?.clone();
    let mut keys = vec![call.input.clone()];
    match call.arg(1, "morekeys") {
        Some(Data::List(more)) => keys.extend(more.iter().cloned()),
        Some(Data::Null) | None => {}
        Some(key) => keys.push(key.clone()),
    }
    for key in keys {
        let name = python::str_of(&key);
        at = match attribute(&at, &name.replace('.', "\u{0}")).or_else(|| match &at {
            Data::Map(map) => map.get(&*name).cloned(),
            Data::Opaque(value) => {
                let found = value.get_item(&minijinja::Value::from(name.as_str())).ok()?;
                crate::template::value::from_value(&found).ok()
            }
            _ => None,
        }) {
            Some(found) => found,
            None => {
                return Ok(Data::Opaque(crate::template::pending::undefined(format!("object has no attribute '{name}'"))));
            }
        };
    }
    Ok(at)
}

/// Pairs each element with each element of a list inside it.
pub(crate) fn each_subelement(items: &[Data], path: &[String], skip_missing: bool) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for item in items {
        let mut at = Some(item.clone());
        for part in path {
            at = at.and_then(|data| data.get(part).cloned());
        }
        match at {
            Some(Data::List(inner)) => out.extend(inner.iter().map(|element| Data::list(vec![item.clone(), element.clone()]))),
            Some(other) if !skip_missing => {
                return Err(format!("the key {} should point to a list, got '{}'", path.join("."), other.type_name()));
            }
            None if !skip_missing => {
                return Err(format!("could not find '{}' key in iterated item", path.join(".")));
            }
            _ => {}
        }
    }
    Ok(out)
}

fn subelements(call: &mut Call) -> Outcome {
    let items = match &call.input {
        Data::Map(map) => map.values().cloned().collect(),
        _ => call.items()?,
    };
    let path = match call.need(0, "subelements")? {
        Data::List(list) => list.iter().map(python::str_of).collect(),
        other => python::str_of(other).split('.').map(str::to_owned).collect::<Vec<_>>(),
    };
    each_subelement(&items, &path, call.flag(1, "skip_missing", false)).map(Data::list).map_err(bad)
}

fn rekey_on_member(call: &mut Call) -> Outcome {
    let key = python::str_of(call.need(0, "key")?);
    let values = match &call.input {
        Data::Map(map) => map.values().cloned().collect(),
        other => elements(other).unwrap_or_default(),
    };
    let mut out = Dict::new();
    for item in values {
        let name = item.get(&key).map(python::str_of).ok_or_else(|| bad(format!("Key {key} was not found")))?;
        if out.contains_key(&*name) && call.text_arg(1, "duplicates").as_deref() != Some("overwrite") {
            return Err(bad(format!("Key {name} is not unique, cannot correctly turn into dict")));
        }
        out.insert(Arc::from(name), item);
    }
    Ok(Data::map(out))
}
