//! Environment, variables, programs, addresses.

use std::process::{Command, Stdio};

use super::{Lookup, UNDEFINED};
use crate::data::Data;
use crate::python;
use crate::template::filters_pattern::pattern;

pub(super) fn env(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat()
        .iter()
        .map(|term| {
            let name = python::str_of(term);
            match (call.scope.controller().variable(&name), call.option("default")) {
                (Some(value), _) => Ok(Data::from(value)),
                (None, Some(default)) => Ok(default.clone()),
                (None, None) => Ok(Data::str("")),
            }
        })
        .collect()
}

pub(super) fn vars(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat()
        .iter()
        .map(|term| {
            let name = python::str_of(term);
            match (call.scope.get(&name), call.option("default")) {
                (Some(Data::Opaque(value)), _) => Ok(Data::Opaque(value.clone())),
                (Some(value), _) => call.scope.resolve(value).map_err(|error| match error.undefined {
                    true => format!("{UNDEFINED}{}", error.message),
                    false => error.message,
                }),
                (None, Some(default)) => Ok(default.clone()),
                (None, None) => Err(format!("{UNDEFINED}No variable named '{name}' was found.")),
            }
        })
        .collect()
}

pub(super) fn varnames(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for term in call.flat() {
        let regex = pattern(&python::str_of(&term), false, false).map_err(|error| error.to_string())?;
        out.extend(call.scope.names().into_iter().filter(|name| regex.is_match(&**name).unwrap_or(false)).map(Data::Str));
    }
    Ok(out)
}

/// Runs a command in the controller's shell, in the playbook's folder.
fn shell(call: &Lookup, command: &str) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "the table of lookups says so")]
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    if let Some(folder) = call.scope.search.last().filter(|folder| call.scope.controller().is_folder(folder)) {
        shell.current_dir(folder);
    }
    let output = shell.output().map_err(|error| format!("cannot run {command}: {error}"))?;
    if !output.status.success() {
        return Err(format!("lookup_plugin.pipe({command}) returned {}", output.status.code().unwrap_or(-1)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(super) fn pipe(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat().iter().map(|term| Ok(Data::str(shell(call, &python::str_of(term))?.trim_end()))).collect()
}

pub(super) fn lines(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for term in call.flat() {
        out.extend(shell(call, &python::str_of(&term))?.lines().map(Data::str));
    }
    Ok(out)
}

pub(super) fn url(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for term in call.flat() {
        let address = python::str_of(&term);
        #[expect(clippy::disallowed_methods, reason = "the table of lookups says so")]
        let mut request = ureq::get(&address);
        if let Some(headers) = call.option("headers").and_then(Data::as_map) {
            for (name, value) in headers.iter() {
                request = request.header(&**name, python::str_of(value));
            }
        }
        let failed = |error: ureq::Error| format!("Received HTTP error for {address} : {error}");
        let text = request.call().map_err(failed)?.body_mut().read_to_string().map_err(failed)?;
        if call.option_flag("split_lines", true) {
            out.extend(text.lines().map(Data::str));
        } else {
            out.push(Data::from(text));
        }
    }
    Ok(out)
}

/// Ansible settings that playbooks ask for, with their default values.
pub(super) fn config(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat()
        .iter()
        .map(|term| match python::str_of(term).as_str() {
            "DEFAULT_ROLES_PATH" => Ok(Data::list(Vec::new())),
            "DEFAULT_FORKS" => Ok(Data::Int(5)),
            "DEFAULT_REMOTE_USER" => Ok(Data::str("root")),
            other => Err(format!("setting '{other}' is not supported")),
        })
        .collect()
}
