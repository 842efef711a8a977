//! Tests (`is ...`): Jinja2's and Ansible's.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind};

use super::filters::{arguments, bad, elements};
use super::filters_pattern::pattern;
use super::pending;
use crate::controller::Controller;
use crate::data::Data;
use crate::{python, version};

/// A call of a test: the tested value and the arguments.
struct Test {
    input: Data,
    args: Vec<Data>,
    kwargs: IndexMap<String, Data>,
}

type Check = fn(&Test) -> Result<bool, Error>;

impl Test {
    fn text(&self) -> String {
        python::str_of(&self.input)
    }

    fn arg(&self, position: usize, name: &str) -> Result<&Data, Error> {
        self.kwargs.get(name).or_else(|| self.args.get(position)).ok_or_else(|| bad(format!("a test needs the argument '{name}'")))
    }

    fn flag(&self, position: usize, name: &str) -> bool {
        self.kwargs.get(name).or_else(|| self.args.get(position)).is_some_and(Data::truthy)
    }

    fn result_flag(&self, name: &str) -> Result<bool, Error> {
        match &self.input {
            Data::Map(map) => Ok(map.get(name).is_some_and(Data::truthy)),
            other => Err(bad(format!("The '{name}' test expects a dictionary, got {}", other.type_name()))),
        }
    }

    fn matches(&self, wrap: fn(&str) -> String) -> Result<bool, Error> {
        let text = wrap(&python::str_of(self.arg(0, "pattern")?));
        let regex = pattern(&text, self.flag(1, "ignorecase"), self.flag(2, "multiline"))?;
        regex.is_match(&self.text()).map_err(|error| bad(format!("regular expression failed: {error}")))
    }

    fn list(&self) -> Result<Vec<Data>, Error> {
        elements(&self.input).ok_or_else(|| bad(format!("'{}' object is not iterable", self.input.type_name())))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(crate::template::filters_paths::expand_user(&self.text(), &Controller::current()))
    }
}

const TESTS: &[(&str, Check)] = &[
    ("failed", |test| test.result_flag("failed")),
    ("failure", |test| test.result_flag("failed")),
    ("succeeded", |test| test.result_flag("failed").map(|failed| !failed)),
    ("success", |test| test.result_flag("failed").map(|failed| !failed)),
    ("successful", |test| test.result_flag("failed").map(|failed| !failed)),
    ("changed", changed),
    ("change", changed),
    ("skipped", |test| test.result_flag("skipped")),
    ("skip", |test| test.result_flag("skipped")),
    ("reachable", |test| test.result_flag("unreachable").map(|gone| !gone)),
    ("unreachable", |test| test.result_flag("unreachable")),
    ("timedout", |test| test.result_flag("timedout")),
    ("started", |test| Ok(test.input.get("started").is_some_and(Data::truthy))),
    ("finished", |test| Ok(test.input.get("finished").is_none_or(Data::truthy))),
    ("none", |test| Ok(matches!(test.input, Data::Null))),
    ("boolean", |test| Ok(matches!(test.input, Data::Bool(_)))),
    ("true", |test| Ok(matches!(test.input, Data::Bool(true)))),
    ("false", |test| Ok(matches!(test.input, Data::Bool(false)))),
    ("truthy", |test| truth(test)),
    ("falsy", |test| truth(test).map(|value| !value)),
    ("integer", |test| Ok(matches!(test.input, Data::Int(_)))),
    ("float", |test| Ok(matches!(test.input, Data::Float(_)))),
    ("number", |test| Ok(matches!(test.input, Data::Int(_) | Data::Float(_) | Data::Bool(_)))),
    ("string", |test| Ok(matches!(test.input, Data::Str(_)))),
    ("mapping", |test| Ok(matches!(test.input, Data::Map(_)))),
    ("sequence", |test| Ok(matches!(test.input, Data::List(_) | Data::Map(_) | Data::Str(_)))),
    ("iterable", |test| Ok(elements(&test.input).is_some())),
    ("callable", |_| Ok(false)),
    ("sameas", |test| Ok(test.input == *test.arg(0, "other")? && test.input.type_name() == test.arg(0, "other")?.type_name())),
    ("lower", |test| Ok(test.text() == test.text().to_lowercase() && test.text().chars().any(char::is_lowercase))),
    ("upper", |test| Ok(test.text() == test.text().to_uppercase() && test.text().chars().any(char::is_uppercase))),
    ("odd", |test| number(test).map(|value| value.rem_euclid(2) == 1)),
    ("even", |test| number(test).map(|value| value.rem_euclid(2) == 0)),
    ("divisibleby", |test| {
        let Data::Int(by) = *test.arg(0, "num")? else {
            return Err(bad("divisibleby needs an integer"));
        };
        number(test)?.checked_rem(by).map(|rest| rest == 0).ok_or_else(|| bad("division by zero"))
    }),
    ("match", |test| test.matches(|text| format!("\\A(?:{text})"))),
    ("search", |test| test.matches(str::to_owned)),
    ("regex", |test| {
        let kind = test.kwargs.get("match_type").map(python::str_of);
        match kind.as_deref() {
            Some("match") => test.matches(|text| format!("\\A(?:{text})")),
            Some("fullmatch") => test.matches(|text| format!("\\A(?:{text})\\z")),
            _ => test.matches(str::to_owned),
        }
    }),
    ("version", compare_versions),
    ("version_compare", compare_versions),
    ("any", |test| Ok(test.list()?.iter().any(Data::truthy))),
    ("all", |test| Ok(test.list()?.iter().all(Data::truthy))),
    ("subset", subset),
    ("issubset", subset),
    ("superset", superset),
    ("issuperset", superset),
    ("contains", |test| {
        let wanted = test.arg(0, "value")?;
        Ok(match &test.input {
            Data::Str(text) => text.contains(&python::str_of(wanted)),
            Data::Map(map) => map.contains_key(&*python::str_of(wanted)),
            _ => test.list()?.contains(wanted),
        })
    }),
    ("file", |test| Ok(Controller::current().is_file(&test.path()))),
    ("is_file", |test| Ok(Controller::current().is_file(&test.path()))),
    ("directory", |test| Ok(Controller::current().is_folder(&test.path()))),
    ("is_dir", |test| Ok(Controller::current().is_folder(&test.path()))),
    ("link", |test| Ok(Controller::current().is_link(&test.path()))),
    ("exists", |test| Ok(Controller::current().exists(&test.path()))),
    ("abs", |test| Ok(test.path().is_absolute())),
    ("is_abs", |test| Ok(test.path().is_absolute())),
    ("same_file", |test| {
        let controller = Controller::current();
        let other = controller.real(Path::new(&python::str_of(test.arg(0, "other")?)));
        Ok(other.is_some() && controller.real(&test.path()) == other)
    }),
    ("url", |test| Ok(test.text().split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()))),
    ("uri", |test| Ok(test.text().split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()))),
    ("vault_encrypted", |test| Ok(test.text().starts_with("$ANSIBLE_VAULT;"))),
    ("ip", |test| Ok(test.text().parse::<std::net::IpAddr>().is_ok())),
    ("ipv4", |test| Ok(test.text().parse::<std::net::Ipv4Addr>().is_ok())),
    ("ipv6", |test| Ok(test.text().parse::<std::net::Ipv6Addr>().is_ok())),
];

/// The names of all tests.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(name, _)| *name)
}

fn changed(test: &Test) -> Result<bool, Error> {
    if let (Some(results), None) = (test.input.get("results").and_then(Data::as_list), test.input.get("changed")) {
        return Ok(results.iter().any(|result| result.get("changed").is_some_and(Data::truthy)));
    }
    test.result_flag("changed")
}

fn truth(test: &Test) -> Result<bool, Error> {
    let value = if test.flag(0, "convert_bool") { test.input.to_bool().map(Data::Bool) } else { None };
    Ok(value.as_ref().unwrap_or(&test.input).truthy())
}

fn number(test: &Test) -> Result<i64, Error> {
    match test.input {
        Data::Int(value) => Ok(value),
        Data::Bool(value) => Ok(i64::from(value)),
        _ => Err(bad(format!("a number is needed, not {}", test.input.type_name()))),
    }
}

fn compare_versions(test: &Test) -> Result<bool, Error> {
    let other = python::str_of(test.arg(0, "version")?);
    let operator = test.arg(1, "operator").map_or_else(|_| "eq".to_owned(), python::str_of);
    let strict = test.kwargs.get("strict").is_some_and(Data::truthy);
    if strict {
        return version::holds_strictly(&test.text(), &other, &operator).map_err(bad);
    }
    version::holds(&test.text(), &other, &operator).map_err(bad)
}

fn subset(test: &Test) -> Result<bool, Error> {
    let other = elements(test.arg(0, "b")?).unwrap_or_default();
    Ok(test.list()?.iter().all(|item| other.contains(item)))
}

fn superset(test: &Test) -> Result<bool, Error> {
    let own = test.list()?;
    Ok(elements(test.arg(0, "b")?).unwrap_or_default().iter().all(|item| own.contains(item)))
}

/// Registers all tests; minijinja's own that match Jinja2's (`eq`, `lt`, `in` ...) are kept.
pub(crate) fn register(env: &mut Environment<'static>) {
    for &(name, check) in TESTS {
        let run = move |values: Rest<ValueOrKwargs>| -> Result<bool, Error> {
            let values = values.into_values();
            let given = values.first().filter(|value| !pending::is_nothing(value));
            if let Some(message) = given.and_then(pending::message_of) {
                return Err(Error::new(ErrorKind::UndefinedError, message.to_string()));
            }
            let (mut args, kwargs) = arguments(&values)?;
            if args.is_empty() {
                return Err(bad(format!("test '{name}' needs a subject")));
            }
            let input = args.remove(0);
            check(&Test { input, args, kwargs })
        };
        for prefix in ["", "ansible.builtin.", "ansible.utils.", "community.general."] {
            env.add_test(format!("{prefix}{name}"), run);
        }
    }
    for prefix in ["", "ansible.builtin."] {
        env.add_test(format!("{prefix}defined"), |value: &Value| {
            pending::accept(value);
            !pending::is_undefined(value)
        });
        env.add_test(format!("{prefix}undefined"), |value: &Value| {
            pending::accept(value);
            pending::is_undefined(value)
        });
    }
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain && !pending::is_undefined(value));
}
