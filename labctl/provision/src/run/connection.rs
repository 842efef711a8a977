//! How to reach the machine of a task: `connection`, `remote_user`, `port`, and the `ansible_*` variables that override them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::playbook::Task;
use crate::target::Connection;
use crate::template::{Scope, TemplateError};

use super::keyword;

/// Names of the controller itself.
const CONTROLLER: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// The connection to `host`, whose variables are in `its`. `scope` is the task's own, for `become`.
pub(crate) fn of(task: &Task, host: &str, its: &Arc<Scope>, scope: &Arc<Scope>) -> Result<Connection, TemplateError> {
    let variable = |names: &[&str]| keyword::text(names.iter().find_map(|name| its.get(name)), its);
    let wrong = |message: String| TemplateError { message, undefined: false, place: task.place.clone() };
    let address = variable(&["ansible_host", "ansible_ssh_host"])?;
    let kind = match variable(&["ansible_connection"])? {
        Some(kind) => Some(kind),
        // A host that is named like the controller and has no variables of its own is the controller.
        None if CONTROLLER.contains(&host) && address.is_none() => Some("local".to_owned()),
        None => keyword::text(task.keywords.get("connection"), scope)?,
    };
    let local = match kind.as_deref().map(|kind| kind.rsplit('.').next().unwrap_or(kind)) {
        Some("local") => true,
        None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh" | "libssh") => false,
        Some(other) => return Err(wrong(format!("{host}: the connection '{other}' is not supported; use ssh or local"))),
    };
    let port = match variable(&["ansible_port", "ansible_ssh_port"])? {
        Some(port) => Some(port),
        None => keyword::text(task.keywords.get("port"), scope)?,
    };
    let port = match port {
        None => None,
        Some(text) => Some(text.trim().parse().map_err(|_| wrong(format!("{host}: '{text}' is not a port number")))?),
    };
    let user = match variable(&["ansible_user", "ansible_ssh_user"])? {
        Some(user) => Some(user),
        None => keyword::text(task.keywords.get("remote_user"), scope)?,
    };
    let key = variable(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?.map(PathBuf::from);
    Ok(Connection { host: host.to_owned(), local, address, port, user, key, root: keyword::becomes(task, scope)? })
}
