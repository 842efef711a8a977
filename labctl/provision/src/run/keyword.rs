//! Evaluates the keywords of a task for a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::{Data, Place};
use crate::playbook::{Condition, Task};
use crate::python;
use crate::template::{Scope, TemplateError};

/// A keyword's truth value; default: false.
pub(crate) fn flag(task: &Task, name: &str, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
    Ok(match task.keywords.get(name) {
        None => false,
        Some(data) => truth(&scope.resolve(data)?),
    })
}

pub(crate) fn truth(data: &Data) -> bool {
    data.to_bool().unwrap_or_else(|| data.truthy())
}

/// A keyword's text; none if it is not set, empty or omitted.
pub(crate) fn text(data: Option<&Data>, scope: &Arc<Scope>) -> Result<Option<String>, TemplateError> {
    let Some(data) = data else { return Ok(None) };
    Ok(match scope.resolve(data)? {
        Data::Null | Data::Omit => None,
        other => Some(python::str_of(&other)).filter(|text| !text.is_empty()),
    })
}

/// A keyword's number.
pub(crate) fn number(data: Option<&Data>, scope: &Arc<Scope>, place: &Place, name: &str) -> Result<Option<f64>, TemplateError> {
    let Some(text) = text(data, scope)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| TemplateError {
        message: format!("the field '{name}' has an invalid value: {text} is not a number"),
        undefined: false,
        place: place.clone(),
    })
}

/// Whether all conditions hold; otherwise the first that does not, as written.
pub(crate) fn all_hold(conditions: &[Condition], scope: &Arc<Scope>) -> Result<Result<(), Data>, TemplateError> {
    for condition in conditions {
        let (holds, text) = match condition {
            Condition::Value(data) => (truth(data), data.clone()),
            Condition::Expression(source, place) => {
                let written = Data::Str(source.clone());
                if source.trim().is_empty() { (true, written) } else { (expression(source, place, scope)?, written) }
            }
        };
        if !holds {
            return Ok(Err(text));
        }
    }
    Ok(Ok(()))
}

/// The truth value of a bare expression. Template markers around it, which Ansible warns about, are ignored.
fn expression(source: &Arc<str>, place: &Place, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
    let data = if crate::data::is_template(source) {
        let marks = crate::template::dialect::Delimiters::default();
        match crate::template::dialect::single_expression(source.trim(), &marks) {
            Some(inner) => scope.engine.expression(&Arc::from(inner), place, scope)?,
            None => {
                let rendered = scope.resolve(&Data::text(source, place))?;
                match &rendered {
                    Data::Str(text) => scope.engine.expression(text, place, scope)?,
                    _ => rendered,
                }
            }
        }
    } else {
        scope.engine.expression(source, place, scope)?
    };
    // A variable that contains text is true unless it is empty, but `"false"` from the command line means false.
    Ok(match &data {
        Data::Str(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => true,
            "false" | "no" | "off" => false,
            _ => data.truthy(),
        },
        _ => data.truthy(),
    })
}

/// The environment of a task: the play's first, overridden by inner ones.
pub(crate) fn environment(task: &Task, scope: &Arc<Scope>) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut out = BTreeMap::new();
    for layer in &task.keywords.environment {
        match scope.resolve(layer)? {
            Data::Map(map) => {
                for (key, value) in map.iter() {
                    out.insert(key.to_string(), python::str_of(value));
                }
            }
            Data::List(list) => {
                for map in list.iter().filter_map(Data::as_map) {
                    out.extend(map.iter().map(|(key, value)| (key.to_string(), python::str_of(value))));
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Whether the task runs as a user other than the login user.
pub(crate) fn becomes(task: &Task, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
    match scope.get("ansible_become") {
        Some(data) => Ok(truth(&scope.resolve(data)?)),
        None => flag(task, "become", scope),
    }
}

/// The user to become; none for root itself or without `become`.
pub(crate) fn become_user(task: &Task, scope: &Arc<Scope>) -> Result<Option<String>, TemplateError> {
    if !becomes(task, scope)? {
        return Ok(None);
    }
    let user = text(scope.get("ansible_become_user").or_else(|| task.keywords.get("become_user")), scope)?;
    Ok(user.filter(|user| user != "root"))
}

/// The name of a task, evaluated as far as possible.
pub(crate) fn name(task: &Task, scope: &Arc<Scope>) -> String {
    if let ("include_role", None) = (&*task.action, &task.name) {
        let role = task.arg("name").or_else(|| task.arg("role")).or_else(|| task.arg("_raw_params"));
        return format!("include_role : {}", role.map(python::str_of).unwrap_or_default());
    }
    let own = match &task.name {
        Some(name) => match scope.resolve(name) {
            Ok(data) => python::str_of(&data),
            Err(_) => python::str_of(name),
        },
        None => task.written.to_string(),
    };
    match &task.role {
        Some(role) => format!("{} : {own}", role.name),
        None => own,
    }
}
