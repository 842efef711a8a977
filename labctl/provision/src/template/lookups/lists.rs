//! Lists to loop over.

use super::Lookup;
use crate::data::{Data, Dict};
use crate::python;
use crate::template::filters::{cartesian, each_subelement};

pub(super) fn items(call: &Lookup) -> Result<Vec<Data>, String> {
    Ok(call.flat())
}

pub(super) fn list(call: &Lookup) -> Result<Vec<Data>, String> {
    Ok(call.terms.clone())
}

pub(super) fn dict(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for term in call.flat() {
        let map = term.as_map().ok_or("with_dict expects a dict")?;
        for (key, value) in map.iter() {
            out.push(Data::map([("key".into(), Data::Str(key.clone())), ("value".into(), value.clone())].into_iter().collect::<Dict>()));
        }
    }
    Ok(out)
}

fn number(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => i64::from_str_radix(text, 8),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("can't parse '{text}' as a number for with_sequence"))
}

/// `start=0 end=32 stride=4 format=host%02d`, `count=5`, `5`, `1-5/2:host%02d`
pub(super) fn sequence(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    let terms = if call.terms.is_empty() { vec![Data::str("")] } else { call.flat() };
    for term in terms {
        let text = python::str_of(&term);
        let (mut start, mut end, mut count, mut stride, mut format) = (1, None, None, None, "%d".to_owned());
        let mut set = |name: &str, value: &str| -> Result<(), String> {
            match name {
                "start" => start = number(value)?,
                "end" => end = Some(number(value)?),
                "count" => count = Some(number(value)?),
                "stride" => stride = Some(number(value)?),
                "format" => format = value.to_owned(),
                other => return Err(format!("unrecognized arguments to with_sequence: {other}")),
            }
            Ok(())
        };
        for (name, value) in call.options {
            set(name, &python::str_of(value))?;
        }
        if text.contains('=') {
            for part in text.split_whitespace() {
                let (name, value) = part.split_once('=').ok_or_else(|| format!("unknown error parsing with_sequence arguments: {text}"))?;
                set(name, value)?;
            }
        } else if !text.trim().is_empty() {
            let (range, shape) = text.split_once(':').map_or((text.as_str(), None), |(range, shape)| (range, Some(shape)));
            let (range, step) = range.split_once('/').map_or((range, None), |(range, step)| (range, Some(step)));
            match range.char_indices().skip(1).find(|(_, c)| *c == '-') {
                Some((at, _)) => {
                    set("start", &range[..at])?;
                    set("end", &range[at + 1..])?;
                }
                None => set("end", range)?,
            }
            if let Some(step) = step {
                set("stride", step)?;
            }
            if let Some(shape) = shape {
                set("format", shape)?;
            }
        }
        let step: i64 = stride.unwrap_or(1);
        let last = match (end, count) {
            (Some(_), Some(_)) => {
                return Err("can't specify both count and end in with_sequence".to_owned());
            }
            (None, None) => return Err("must specify count or end in with_sequence".to_owned()),
            (Some(end), None) => end,
            (None, Some(0)) => continue,
            (None, Some(count)) => start + count * step - step,
        };
        let step = stride.unwrap_or(if last < start && count.is_none() { -1 } else { 1 });
        if step == 0 {
            continue;
        }
        if (step > 0 && last < start) || (step < 0 && last > start) {
            return Err(format!(
                "to count {} make stride {}",
                if step > 0 { "backwards" } else { "forward" },
                if step > 0 { "negative" } else { "positive" }
            ));
        }
        let mut at = start;
        while if step > 0 { at <= last } else { at >= last } {
            out.push(Data::from(crate::template::printf::apply(&format, &[Data::Int(at)]).map_err(|error| error.to_string())?));
            at += step;
        }
    }
    Ok(out)
}

pub(super) fn subelements(call: &Lookup) -> Result<Vec<Data>, String> {
    let [first, path, rest @ ..] = call.terms.as_slice() else {
        return Err("subelements lookup expects a list of two or three items".to_owned());
    };
    let skip = rest.first().is_some_and(|flags| flags.get("skip_missing").is_some_and(|flag| flag.to_bool().unwrap_or(false)));
    let items: Vec<Data> = match first {
        Data::List(list) => list.to_vec(),
        Data::Map(map) => map.values().cloned().collect(),
        other => {
            return Err(format!("first item should be a list or dict, got {}", other.type_name()));
        }
    };
    let path: Vec<String> = python::str_of(path).split('.').map(str::to_owned).collect();
    let mut pairs = each_subelement(&items, &path, skip)?;
    // Unlike the filter of that name, the lookup removes the list from the item.
    for pair in &mut pairs {
        if let Data::List(parts) = pair {
            let [item, element] = parts.as_slice() else {
                continue;
            };
            *pair = Data::list(vec![without(item, &path), element.clone()]);
        }
    }
    Ok(pairs)
}

/// A mapping without the entry at a path of keys.
fn without(data: &Data, path: &[String]) -> Data {
    let (Data::Map(map), Some((first, rest))) = (data, path.split_first()) else {
        return data.clone();
    };
    let mut map = (**map).clone();
    if rest.is_empty() {
        map.shift_remove(first.as_str());
    } else if let Some(inner) = map.get_mut(first.as_str()) {
        *inner = without(inner, rest);
    }
    Data::map(map)
}

fn lists_of(call: &Lookup) -> Vec<Vec<Data>> {
    call.terms.iter().map(|term| term.as_list().map_or_else(|| vec![term.clone()], |list| list.to_vec())).collect()
}

pub(super) fn together(call: &Lookup) -> Result<Vec<Data>, String> {
    let lists = lists_of(call);
    let longest = lists.iter().map(Vec::len).max().ok_or("with_together requires at least one element in each list")?;
    Ok((0..longest).map(|at| Data::list(lists.iter().map(|list| list.get(at).cloned().unwrap_or_default()).collect())).collect())
}

pub(super) fn nested(call: &Lookup) -> Result<Vec<Data>, String> {
    let rows = cartesian(&lists_of(call)).map_err(|error| error.to_string())?;
    Ok(rows.into_iter().map(Data::list).collect())
}

pub(super) fn indexed_items(call: &Lookup) -> Result<Vec<Data>, String> {
    Ok(call.flat().into_iter().enumerate().map(|(index, item)| Data::list(vec![Data::from(index), item])).collect())
}

pub(super) fn flattened(call: &Lookup) -> Result<Vec<Data>, String> {
    fn open(items: &[Data], out: &mut Vec<Data>) {
        for item in items {
            match item {
                Data::List(list) => open(list, out),
                Data::Null => {}
                other => out.push(other.clone()),
            }
        }
    }
    let mut out = Vec::new();
    open(&call.terms, &mut out);
    Ok(out)
}

pub(super) fn random_choice(call: &Lookup) -> Result<Vec<Data>, String> {
    use rand::seq::IndexedRandom;
    let mut random = call.scope.controller().random("random_choice");
    Ok(call.flat().choose(&mut random).cloned().into_iter().collect())
}

pub(super) fn inventory_hostnames(call: &Lookup) -> Result<Vec<Data>, String> {
    let groups = call.scope.get("groups").and_then(Data::as_map).cloned().unwrap_or_default();
    let pattern = call.flat().iter().map(python::str_of).collect::<Vec<_>>().join(",");
    let names = |group: &str| -> Option<Vec<String>> { Some(groups.get(group)?.as_list()?.iter().map(python::str_of).collect()) };
    let all = names("all").unwrap_or_default();
    Ok(crate::host_pattern::select(&pattern, &all, &|name| {
        let mut out = Vec::new();
        for group in groups.keys().filter(|group| crate::host_pattern::glob(name, group)) {
            out.extend(names(group).unwrap_or_default());
        }
        out.extend(all.iter().filter(|host| crate::host_pattern::glob(name, host)).cloned());
        out
    })
    .into_iter()
    .map(Data::from)
    .collect())
}
