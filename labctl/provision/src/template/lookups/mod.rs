//! Lookups: values from the controller. They run where the template is evaluated; one family per file.

mod files;
mod lists;
mod secrets;
mod values;

use indexmap::IndexMap;

use super::scope::Scope;
use crate::data::Data;
use std::sync::Arc;

pub(crate) use files::{glob_files, search_file};

/// Prefix of the message of a failure that is an undefined variable.
pub(crate) const UNDEFINED: &str = "\u{0}undefined:";

/// A call of a lookup.
pub(crate) struct Lookup<'a> {
    pub terms: Vec<Data>,
    pub options: &'a IndexMap<String, Data>,
    pub scope: Arc<Scope>,
}

type Plugin = fn(&Lookup) -> Result<Vec<Data>, String>;

/// What the result of a lookup depends on, besides its terms and variables. The correctness of a kept lab depends on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing.
    Terms,
    /// Files or the environment, read through its [`Controller`](crate::controller::Controller).
    Noted,
    /// Randomness, also through its controller; with a seed or an existing file, as above.
    Chance,
    /// Something that cannot be asked again and compared: why.
    Beyond(&'static str),
}

const PLUGINS: &[(&str, Origin, Plugin)] = &[
    ("env", Origin::Noted, values::env),
    ("vars", Origin::Terms, values::vars),
    ("varnames", Origin::Terms, values::varnames),
    ("ansible.builtin.vars", Origin::Terms, values::vars),
    ("pipe", Origin::Beyond("runs a program on the controller"), values::pipe),
    ("lines", Origin::Beyond("runs a program on the controller"), values::lines),
    ("url", Origin::Beyond("queries a server"), values::url),
    ("config", Origin::Terms, values::config),
    ("file", Origin::Noted, files::file),
    ("template", Origin::Noted, files::template),
    ("fileglob", Origin::Noted, files::fileglob),
    ("first_found", Origin::Noted, files::first_found),
    ("csvfile", Origin::Noted, files::csvfile),
    ("ini", Origin::Noted, files::ini),
    ("unvault", Origin::Noted, files::file),
    ("password", Origin::Chance, secrets::password),
    ("random_string", Origin::Chance, secrets::random_string),
    ("items", Origin::Terms, lists::items),
    ("list", Origin::Terms, lists::list),
    ("dict", Origin::Terms, lists::dict),
    ("sequence", Origin::Terms, lists::sequence),
    ("subelements", Origin::Terms, lists::subelements),
    ("together", Origin::Terms, lists::together),
    ("nested", Origin::Terms, lists::nested),
    ("cartesian", Origin::Terms, lists::nested),
    ("indexed_items", Origin::Terms, lists::indexed_items),
    ("flattened", Origin::Terms, lists::flattened),
    ("random_choice", Origin::Chance, lists::random_choice),
    ("inventory_hostnames", Origin::Terms, lists::inventory_hostnames),
];

impl Lookup<'_> {
    /// The terms, with one level of lists flattened.
    fn flat(&self) -> Vec<Data> {
        self.terms.iter().flat_map(|term| term.as_list().map_or_else(|| vec![term.clone()], |list| list.to_vec())).collect()
    }

    fn option(&self, name: &str) -> Option<&Data> {
        self.options.get(name)
    }

    fn option_text(&self, name: &str) -> Option<String> {
        self.option(name).filter(|data| !matches!(data, Data::Null)).map(crate::python::str_of)
    }

    fn option_flag(&self, name: &str, default: bool) -> bool {
        self.option(name).map_or(default, |data| data.to_bool().unwrap_or_else(|| data.truthy()))
    }
}

/// Runs a lookup in the scope of this thread's evaluation.
pub(crate) fn run(name: &str, terms: &[Data], options: &IndexMap<String, Data>) -> Result<Vec<Data>, String> {
    let scope = Scope::current().ok_or("no evaluation is in progress")?;
    run_in(name, terms, options, scope)
}

/// A lookup's name without its collection.
fn short(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("community.general.")).unwrap_or(name)
}

/// Runs a lookup in a scope.
pub(crate) fn run_in(name: &str, terms: &[Data], options: &IndexMap<String, Data>, scope: Arc<Scope>) -> Result<Vec<Data>, String> {
    match PLUGINS.iter().find(|(known, ..)| *known == short(name)) {
        Some((name, origin, plugin)) => {
            if let Origin::Beyond(why) = origin {
                scope.controller().uncovered(&format!("{why} ({name})"));
            }
            plugin(&Lookup { terms: terms.to_vec(), options, scope })
        }
        None => {
            let known: Vec<&str> = PLUGINS.iter().map(|(known, ..)| *known).filter(|known| !known.contains('.')).collect();
            Err(format!("lookup plugin ({name}) not found; supported are {}", known.join(", ")))
        }
    }
}

/// Whether the lookup exists, for `with_NAME`.
pub(crate) fn exists(name: &str) -> bool {
    PLUGINS.iter().any(|(known, ..)| *known == short(name))
}

/// All lookups, for a test of the table's entries.
#[cfg(test)]
pub(crate) fn origins() -> impl Iterator<Item = (&'static str, Origin)> {
    PLUGINS.iter().map(|(name, origin, _)| (*name, *origin))
}
