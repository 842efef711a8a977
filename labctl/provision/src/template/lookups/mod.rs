//! Lookups: values from the controller's surroundings. They run where the template is evaluated, one family per file.

mod files;
mod lists;
mod secrets;
mod values;

use indexmap::IndexMap;

use super::scope::Scope;
use crate::data::Data;
use std::sync::Arc;

pub(crate) use files::{glob_files, search_file};

/// Starts the message of a failure that is an undefined variable.
pub(crate) const UNDEFINED: &str = "\u{0}undefined:";

/// A lookup's call.
pub(crate) struct Lookup<'a> {
    pub terms: Vec<Data>,
    pub options: &'a IndexMap<String, Data>,
    pub scope: Arc<Scope>,
}

type Plugin = fn(&Lookup) -> Result<Vec<Data>, String>;

const PLUGINS: &[(&str, Plugin)] = &[
    ("env", values::env),
    ("vars", values::vars),
    ("varnames", values::varnames),
    ("ansible.builtin.vars", values::vars),
    ("pipe", values::pipe),
    ("lines", values::lines),
    ("url", values::url),
    ("config", values::config),
    ("file", files::file),
    ("template", files::template),
    ("fileglob", files::fileglob),
    ("first_found", files::first_found),
    ("csvfile", files::csvfile),
    ("ini", files::ini),
    ("unvault", files::file),
    ("password", secrets::password),
    ("random_string", secrets::random_string),
    ("items", lists::items),
    ("list", lists::list),
    ("dict", lists::dict),
    ("sequence", lists::sequence),
    ("subelements", lists::subelements),
    ("together", lists::together),
    ("nested", lists::nested),
    ("cartesian", lists::nested),
    ("indexed_items", lists::indexed_items),
    ("flattened", lists::flattened),
    ("random_choice", lists::random_choice),
    ("inventory_hostnames", lists::inventory_hostnames),
];

impl Lookup<'_> {
    /// The terms, one level of lists opened.
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
    let scope = Scope::current().ok_or("no evaluation is under way")?;
    run_in(name, terms, options, scope)
}

/// A lookup's name without the collection that it is in.
fn short(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("community.general.")).unwrap_or(name)
}

/// Runs a lookup in a scope.
pub(crate) fn run_in(name: &str, terms: &[Data], options: &IndexMap<String, Data>, scope: Arc<Scope>) -> Result<Vec<Data>, String> {
    match PLUGINS.iter().find(|(known, _)| *known == short(name)) {
        Some((_, plugin)) => plugin(&Lookup { terms: terms.to_vec(), options, scope }),
        None => {
            let known: Vec<&str> = PLUGINS.iter().map(|(known, _)| *known).filter(|known| !known.contains('.')).collect();
            Err(format!("lookup plugin ({name}) not found; supported are {}", known.join(", ")))
        }
    }
}

/// Whether there is such a lookup, for `with_NAME`.
pub(crate) fn exists(name: &str) -> bool {
    PLUGINS.iter().any(|(known, _)| *known == short(name))
}
