//! Lists: order, sets, combinations.

use std::cmp::Ordering;

use super::numbers::{compare, real};
use super::{Call, Outcome, bad, elements};
use crate::controller::Controller;
use crate::data::Data;
use crate::python;
use crate::template::methods::attribute;
use crate::template::python_random::Random;

pub(super) const FILTERS: super::Table = &[
    ("first", first),
    ("last", last),
    ("length", length),
    ("count", length),
    ("list", |call| Ok(Data::list(call.items()?))),
    ("join", join),
    ("reverse", reverse),
    ("sort", sort),
    ("unique", unique),
    ("min", |call| extreme(call, Ordering::Less)),
    ("max", |call| extreme(call, Ordering::Greater)),
    ("sum", sum),
    ("batch", batch),
    ("slice", slice),
    ("flatten", flatten),
    ("difference", |call| sets(call, |a, b| keep(a, |item| !b.contains(item)))),
    ("intersect", |call| sets(call, |a, b| keep(a, |item| b.contains(item)))),
    ("union", |call| sets(call, |a, b| a.iter().chain(b).cloned().collect())),
    ("symmetric_difference", |call| {
        sets(call, |a, b| a.iter().filter(|item| !b.contains(item)).chain(b.iter().filter(|item| !a.contains(item))).cloned().collect())
    }),
    ("zip", |call| zip(call, false)),
    ("zip_longest", |call| zip(call, true)),
    ("product", product),
    ("combinations", combinations),
    ("permutations", permutations),
    ("shuffle", shuffle),
];

fn first(call: &mut Call) -> Outcome {
    call.items()?.into_iter().next().map_or_else(|| Ok(nothing("No first item, sequence was empty.")), Ok)
}

fn last(call: &mut Call) -> Outcome {
    call.items()?.pop().map_or_else(|| Ok(nothing("No last item, sequence was empty.")), Ok)
}

fn nothing(message: &str) -> Data {
    Data::Opaque(crate::template::pending::undefined(message))
}

fn length(call: &mut Call) -> Outcome {
    match &call.input {
        Data::Str(text) => Ok(Data::from(text.chars().count())),
        Data::List(list) => Ok(Data::from(list.len())),
        Data::Map(map) => Ok(Data::from(map.len())),
        Data::Opaque(value) if value.len().is_some() => Ok(Data::from(value.len().unwrap_or(0))),
        other => Err(bad(format!("object of type '{}' has no len()", other.type_name()))),
    }
}

fn join(call: &mut Call) -> Outcome {
    let separator = call.text_arg(0, "d").unwrap_or_default();
    let items = match call.text_arg(1, "attribute") {
        Some(path) => call.items()?.iter().map(|item| attribute(item, &path).unwrap_or(Data::str(""))).collect(),
        None => call.items()?,
    };
    Ok(Data::from(items.iter().map(python::str_of).collect::<Vec<_>>().join(&separator)))
}

fn reverse(call: &mut Call) -> Outcome {
    if let Data::Str(text) = &call.input {
        return Ok(Data::from(text.chars().rev().collect::<String>()));
    }
    let mut items = call.items()?;
    items.reverse();
    Ok(Data::list(items))
}

/// Sorts by keys; the sort is stable, also in reverse.
pub(super) fn sort_by_key(mut keyed: Vec<(Vec<Data>, Data)>, reverse: bool, case: bool) -> Result<Vec<Data>, minijinja::Error> {
    let mut failed = None;
    keyed.sort_by(|(a, _), (b, _)| {
        for (x, y) in a.iter().zip(b) {
            match compare(x, y, case) {
                Some(Ordering::Equal) => {}
                Some(other) => return if reverse { other.reverse() } else { other },
                None => failed = Some(format!("'<' not supported between instances of '{}' and '{}'", x.type_name(), y.type_name())),
            }
        }
        Ordering::Equal
    });
    match failed {
        Some(message) => Err(bad(message)),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn sort(call: &mut Call) -> Outcome {
    let reverse = call.flag(0, "reverse", false);
    let case = call.flag(1, "case_sensitive", false);
    let path = call.text_arg(2, "attribute");
    let keyed = call.items()?.into_iter().map(|item| {
        let keys = match &path {
            Some(paths) => paths
                .split(',')
                .map(|path| attribute(&item, path).ok_or_else(|| bad(format!("object has no attribute '{path}'"))))
                .collect::<Result<Vec<_>, _>>()?,
            None => vec![item.clone()],
        };
        Ok((keys, item))
    });
    Ok(Data::list(sort_by_key(keyed.collect::<Result<_, minijinja::Error>>()?, reverse, case)?))
}

fn unique(call: &mut Call) -> Outcome {
    // Ansible's own filter is case-sensitive by default.
    let case = call.flag(0, "case_sensitive", true);
    let path = call.text_arg(1, "attribute");
    let mut seen: Vec<Data> = Vec::new();
    let mut out = Vec::new();
    for item in call.items()? {
        let key = match &path {
            Some(path) => attribute(&item, path).unwrap_or_default(),
            None => item.clone(),
        };
        let key = match &key {
            Data::Str(text) if !case => Data::from(text.to_lowercase()),
            _ => key,
        };
        if !seen.contains(&key) {
            seen.push(key);
            out.push(item);
        }
    }
    Ok(Data::list(out))
}

fn extreme(call: &mut Call, wanted: Ordering) -> Outcome {
    let case = call.flag(usize::MAX, "case_sensitive", true);
    let path = call.text_arg(usize::MAX, "attribute");
    let mut best: Option<(Data, Data)> = None;
    for item in call.items()? {
        let key = path.as_ref().map_or_else(|| item.clone(), |path| attribute(&item, path).unwrap_or_default());
        let better = match &best {
            None => true,
            Some((held, _)) => {
                compare(&key, held, case).ok_or_else(|| {
                    bad(format!("'<' not supported between instances of '{}' and '{}'", key.type_name(), held.type_name()))
                })? == wanted
            }
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| nothing("No aggregated item, sequence was empty."), |(_, item)| item))
}

fn sum(call: &mut Call) -> Outcome {
    let path = call.text_arg(0, "attribute");
    let mut total = call.arg(1, "start").cloned().unwrap_or(Data::Int(0));
    for item in call.items()? {
        let item = match &path {
            Some(path) => attribute(&item, path).ok_or_else(|| bad(format!("object has no attribute '{path}'")))?,
            None => item,
        };
        total = match (&total, &item) {
            (Data::Int(a), Data::Int(b)) => Data::Int(a.saturating_add(*b)),
            (Data::List(a), Data::List(b)) => Data::list(a.iter().chain(b.iter()).cloned().collect()),
            (a, b) if !matches!(b, Data::Str(_)) && real(a).is_some() && real(b).is_some() => {
                Data::Float(real(a).unwrap_or(0.0) + real(b).unwrap_or(0.0))
            }
            (a, b) => {
                return Err(bad(format!("unsupported operand type(s) for +: '{}' and '{}'", a.type_name(), b.type_name())));
            }
        };
    }
    Ok(total)
}

fn batch(call: &mut Call) -> Outcome {
    let size = call.int_arg(0, "linecount").filter(|size| *size > 0).ok_or_else(|| bad("batch needs a size"))? as usize;
    let fill = call.arg(1, "fill_with").cloned();
    let items = call.items()?;
    let rows = items.chunks(size).map(|row| {
        let mut row = row.to_vec();
        if let Some(fill) = &fill {
            row.resize(size, fill.clone());
        }
        Data::list(row)
    });
    Ok(Data::list(rows.collect()))
}

fn slice(call: &mut Call) -> Outcome {
    let count =
        call.int_arg(0, "slices").filter(|count| (1..=1 << 20).contains(count)).ok_or_else(|| bad("slice needs a number"))? as usize;
    let fill = call.arg(1, "fill_with").cloned();
    let items = call.items()?;
    let (each, extra) = (items.len() / count, items.len() % count);
    let mut at = 0;
    let mut out = Vec::new();
    for index in 0..count {
        let size = each + usize::from(index < extra);
        let mut part = items[at..at + size].to_vec();
        at += size;
        if let Some(fill) = fill.clone().filter(|_| extra > 0 && index >= extra) {
            part.push(fill);
        }
        out.push(Data::list(part));
    }
    Ok(Data::list(out))
}

fn flatten_into(items: &[Data], levels: Option<i64>, skip_nulls: bool, out: &mut Vec<Data>) {
    for item in items {
        match item {
            Data::List(inner) if levels != Some(0) => flatten_into(inner, levels.map(|levels| levels - 1), skip_nulls, out),
            Data::Null if skip_nulls => {}
            Data::Str(text) if skip_nulls && (&**text == "None" || &**text == "null") => {}
            other => out.push(other.clone()),
        }
    }
}

fn flatten(call: &mut Call) -> Outcome {
    let mut out = Vec::new();
    flatten_into(&call.items()?, call.int_arg(0, "levels"), call.flag(1, "skip_nulls", true), &mut out);
    Ok(Data::list(out))
}

fn keep(items: &[Data], wanted: impl Fn(&Data) -> bool) -> Vec<Data> {
    items.iter().filter(|item| wanted(item)).cloned().collect()
}

fn sets(call: &mut Call, join: impl Fn(&[Data], &[Data]) -> Vec<Data>) -> Outcome {
    let (a, b) = (call.items()?, call.list_arg(0, "other")?);
    let mut out: Vec<Data> = Vec::new();
    for item in join(&a, &b) {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    Ok(Data::list(out))
}

fn zip(call: &mut Call, longest: bool) -> Outcome {
    let mut lists = vec![call.items()?];
    for other in &call.args {
        lists.push(elements(other).ok_or_else(|| bad(format!("'{}' object is not iterable", other.type_name())))?);
    }
    let fill = call.kwargs.get("fillvalue").cloned().unwrap_or_default();
    let lengths = lists.iter().map(Vec::len);
    let length = if longest { lengths.max() } else { lengths.min() }.unwrap_or(0);
    let rows = (0..length).map(|at| Data::list(lists.iter().map(|list| list.get(at).cloned().unwrap_or_else(|| fill.clone())).collect()));
    Ok(Data::list(rows.collect()))
}

/// Maximum number of results of `product`, `combinations` and `permutations`: they grow so fast that more is a mistake.
const MOST: usize = 1 << 20;

fn product(call: &mut Call) -> Outcome {
    let mut lists = vec![call.items()?];
    for other in &call.args {
        lists.push(elements(other).ok_or_else(|| bad(format!("'{}' object is not iterable", other.type_name())))?);
    }
    let repeat = call.kwargs.get("repeat").and_then(|data| super::numbers::integer(data, 10)).unwrap_or(1).clamp(0, 20) as usize;
    let all: Vec<Vec<Data>> = std::iter::repeat_n(lists, repeat).flatten().collect();
    Ok(Data::list(cartesian(&all)?.into_iter().map(Data::list).collect()))
}

/// All ways to choose one item from each list.
pub(crate) fn cartesian(lists: &[Vec<Data>]) -> Result<Vec<Vec<Data>>, minijinja::Error> {
    let mut rows: Vec<Vec<Data>> = vec![Vec::new()];
    for list in lists {
        if rows.len().saturating_mul(list.len()) > MOST {
            return Err(bad("too many combinations"));
        }
        rows = rows.iter().flat_map(|row| list.iter().map(move |item| row.iter().chain([item]).cloned().collect())).collect();
    }
    Ok(rows)
}

fn choose(call: &mut Call, allowed: fn(&[usize], usize) -> bool) -> Outcome {
    let items = call.items()?;
    let size = call.int_arg(0, "r").map_or(items.len(), |size| size.max(0) as usize);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        let mut next = Vec::new();
        for row in &rows {
            next.extend((0..items.len()).filter(|at| allowed(row, *at)).map(|at| row.iter().copied().chain([at]).collect::<Vec<_>>()));
            if next.len() > MOST {
                return Err(bad("too many combinations"));
            }
        }
        rows = next;
    }
    Ok(Data::list(rows.into_iter().map(|row| Data::list(row.into_iter().map(|at| items[at].clone()).collect())).collect()))
}

fn combinations(call: &mut Call) -> Outcome {
    choose(call, |row, at| row.last().is_none_or(|last| at > *last))
}

fn permutations(call: &mut Call) -> Outcome {
    choose(call, |row, at| !row.contains(&at))
}

fn shuffle(call: &mut Call) -> Outcome {
    let mut items = call.items()?;
    // An empty seed counts as none.
    let seed = call.arg(0, "seed").filter(|seed| seed.truthy());
    Random::of(seed, || Controller::current().random("shuffle")).shuffle(&mut items);
    Ok(Data::list(items))
}
