//! Merge keys: `<<: *defaults`, `<<: [*a, *b]` (<https://yaml.org/type/merge.html>), as PyYAML's `flatten_mapping`.

use super::{Entry, Map, Node, Style, Value};

/// Whether an entry's key is the merge key: `<<` without quotes.
pub(super) fn is_merge(key: &Node) -> bool {
    key.tag.is_none() && key.as_scalar().is_some_and(|scalar| scalar.style == Style::Plain && scalar.text == "<<")
}

/// The mappings of a merge value, lowest priority first; fails with the first value that is not a mapping.
fn sources(value: Node) -> Result<Vec<Map>, Node> {
    match value.value {
        Value::Map(map) => Ok(vec![map]),
        Value::Seq(items) => {
            let mut maps = Vec::new();
            for item in items {
                match item.value {
                    Value::Map(map) => maps.push(map),
                    _ => return Err(item),
                }
            }
            // Earlier ones win over later ones.
            maps.reverse();
            Ok(maps)
        }
        _ => Err(value),
    }
}

/// Puts merged entries before the mapping's own, which take precedence; returns the offending node if a merge value is invalid. Own keys
/// must already be unique.
pub(super) fn flatten(own: Vec<Entry>) -> Result<Map, Node> {
    if !own.iter().any(|entry| is_merge(&entry.key)) {
        return Ok(Map { entries: own });
    }
    let mut merged: Vec<Entry> = Vec::new();
    let mut plain = Vec::new();
    for entry in own {
        if is_merge(&entry.key) {
            for map in sources(entry.value)? {
                merged.extend(map.entries);
            }
        } else {
            plain.push(entry);
        }
    }
    let mut all: Vec<Entry> = Vec::with_capacity(merged.len() + plain.len());
    let mut places = std::collections::HashMap::new();
    for entry in merged.into_iter().chain(plain) {
        match places.entry(super::build::KeyIdentity::of(&entry.key)) {
            // The later value replaces the earlier one in place, as in a Python dict.
            std::collections::hash_map::Entry::Occupied(place) => {
                let place: usize = *place.get();
                all[place] = entry;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(entry);
            }
        }
    }
    Ok(Map { entries: all })
}
