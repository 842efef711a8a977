//! Templates as written for Ansible: lazy variables, native types, undefined values that carry their names.

mod concat;
pub(crate) mod dialect;
pub(crate) mod engine;
pub(crate) mod filters;
pub(crate) mod functions;
mod header;
mod literals;
pub(crate) mod lookups;
pub(crate) mod methods;
mod mutation;
pub(crate) mod pending;
pub(crate) mod printf;
pub(crate) mod python_random;
pub(crate) mod scope;
pub(crate) mod str_methods;
pub(crate) mod tests;
pub(crate) mod value;

#[cfg(test)]
mod cases;

pub(crate) use engine::{Engine, Syntax, TemplateError};
pub(crate) use filters::paths as filters_paths;
pub(crate) use filters::patterns as filters_pattern;
pub(crate) use scope::Scope;
