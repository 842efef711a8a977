//! `validate_argument_spec`: checks a role's variables against its `argument_specs`.

use super::{Action, Done, result};
use crate::data::{Data, Dict};
use crate::python;

impl Action {
    pub(super) fn validate_argument_spec(&self) -> Done {
        let Some(Data::Map(spec)) = self.args.get("argument_spec") else {
            return Ok(result([("changed", false.into())]));
        };
        let given = match self.args.get("provided_arguments") {
            Some(Data::Map(given)) => Some(given.clone()),
            _ => None,
        };
        let mut errors = Vec::new();
        let mut missing = Vec::new();
        for (name, option) in spec.iter().filter_map(|(name, option)| Some((name, option.as_map()?))) {
            let value = match &given {
                Some(given) => given.get(name).cloned(),
                None => self.scope.get(name).and_then(|data| self.scope.resolve(data).ok()),
            };
            match value.filter(|value| !matches!(value, Data::Null | Data::Omit)) {
                Some(value) => check(name, &value, option, &mut errors),
                None if option.get("required").and_then(Data::to_bool).unwrap_or(false) => missing.push(name.to_string()),
                None => {}
            }
        }
        missing.sort();
        if !missing.is_empty() {
            errors.push(format!("missing required arguments: {}", missing.join(", ")));
        }
        let changed = ("changed", false.into());
        Ok(match errors.is_empty() {
            true => result([changed, ("msg", Data::str("The arg spec validation passed"))]),
            false => result([
                ("failed", true.into()),
                changed,
                ("msg", Data::from(format!("Validation of arguments failed:\n{}", errors.join("\n")))),
                ("argument_errors", errors.into()),
            ]),
        })
    }
}

fn check(name: &str, value: &Data, option: &Dict, errors: &mut Vec<String>) {
    let kind = option.get("type").map_or_else(|| "str".to_owned(), python::str_of);
    let fits = match (kind.as_str(), value) {
        ("int", Data::Str(text)) => text.trim().parse::<i64>().is_ok(),
        ("int", Data::Int(_)) | ("float", Data::Int(_) | Data::Float(_)) => true,
        ("float", Data::Str(text)) => text.trim().parse::<f64>().is_ok(),
        ("bool", value) => value.to_bool().is_some(),
        ("list", Data::List(_) | Data::Str(_) | Data::Int(_) | Data::Float(_)) | ("dict", Data::Map(_)) => true,
        ("dict", Data::Str(text)) => text.trim_start().starts_with('{') || text.contains('='),
        ("int" | "float" | "list" | "dict", _) => false,
        // Numbers and the like can become text; paths, raw values and others are left to the modules.
        ("str", value) => !matches!(value, Data::Map(_) | Data::List(_)) || option.get("choices").is_none(),
        _ => true,
    };
    if !fits {
        errors.push(format!(
            "argument '{name}' is of type {} and we were unable to convert to {kind}: {} cannot be converted to {} {kind}",
            value.type_name(),
            python::str_of(value),
            if kind == "int" { "an" } else { "a" },
        ));
        return;
    }
    if let Some(choices) = option.get("choices").and_then(Data::as_list) {
        let known: Vec<String> = choices.iter().map(python::str_of).collect();
        let items: Vec<&Data> = value.as_list().map_or_else(|| vec![value], |list| list.iter().collect());
        if let Some(wrong) = items.iter().map(|item| python::str_of(item)).find(|item| !known.contains(item)) {
            errors.push(format!("value of {name} must be one of: {}, got: {wrong}", known.join(", ")));
        }
    }
    // Suboptions: of a mapping, or of each mapping in a list.
    if let Some(inner) = option.get("options").and_then(Data::as_map) {
        let maps: Vec<&Dict> = match value {
            Data::Map(map) => vec![map],
            Data::List(list) => list.iter().filter_map(Data::as_map).map(|map| &**map).collect(),
            _ => Vec::new(),
        };
        for map in maps {
            for (key, option) in inner.iter().filter_map(|(key, option)| Some((key, option.as_map()?))) {
                match map.get(key).filter(|value| !matches!(value, Data::Null)) {
                    Some(value) => check(key, value, option, errors),
                    None if option.get("required").and_then(Data::to_bool).unwrap_or(false) => {
                        errors.push(format!("missing required arguments: {key} found in {name}"));
                    }
                    None => {}
                }
            }
        }
    }
}
