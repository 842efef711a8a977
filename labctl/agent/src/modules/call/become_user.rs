//! Tasks that run as a different user.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::root::Root;
use crate::modules::call::spawn::Spawn;

/// Whether the task's user differs from the one that this process runs as.
pub(crate) fn is_needed(root: &Root, call: &ModuleCall) -> Result<bool, Fault> {
    let Some(name) = call.become_user.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(false);
    };
    let user = passwd::user(root, name).ok_or_else(|| Fault::from(format!("failed to look up user {name} to become")))?;
    Ok(user.uid != rustix::process::geteuid().as_raw())
}

/// Runs the call in a child of this program that runs as that user.
pub(crate) fn run_as(root: &Root, call: &ModuleCall) -> Outcome {
    let name = call.become_user.clone().unwrap_or_default();
    let inner = ModuleCall { become_user: None, ..call.clone() };
    let request = serde_json::to_vec(&inner).map_err(|err| Fault::from(err.to_string()))?;
    let mut env = call.environment.clone();
    env.insert(labctl_wire::STATE_VARIABLE.to_owned(), state_of(root, call, &name)?);
    let spawn = Spawn {
        argv: ["/proc/self/exe", "module"].map(str::to_owned).to_vec(),
        env,
        stdin: Some(request),
        timeout: call.timeout_ms.map(std::time::Duration::from_millis),
        ..Spawn::default()
    }
    .by_user(root, &name)?;
    let output = spawn.run().map_err(|err| Fault::from(format!("could not run as {name}: {err}")))?;
    let reply: ModuleReply = serde_json::from_slice(&output.stdout).map_err(|err| {
        Fault::from(format!("the module run as {name} returned no result: {err}")).with("rc", output.rc).with("module_stderr", output.err())
    })?;
    Ok(Done { result: reply.result, needs_content: reply.needs_content })
}

/// A state folder owned by the user, with what the controller has sent for the call: the user cannot move files out of root's folder.
fn state_of(root: &Root, call: &ModuleCall, name: &str) -> Result<String, Fault> {
    let user = passwd::user(root, name).ok_or_else(|| Fault::from(format!("failed to look up user {name} to become")))?;
    let state = ModuleCall::state_folder();
    let own = format!("{state}/users/{}", user.uid);
    let spool = PathBuf::from(format!("{own}/spool"));
    let (uid, gid) = (Some(user.uid), Some(user.gid));
    if fs::symlink_metadata(&spool).is_ok_and(|meta| meta.is_dir() && meta.uid() == user.uid) {
        return hand_over(call, &state, &own, uid, gid).map(|()| own);
    }
    let parents = fs::DirBuilder::new().recursive(true).mode(0o711).create(format!("{state}/users"));
    parents.attempt("create the folder", &state)?;
    for folder in [Path::new(&own), &spool] {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.attempt("create the folder", folder)?,
        }
        lchown(folder, uid, gid).attempt("change the owner of", folder)?;
    }
    hand_over(call, &state, &own, uid, gid).map(|()| own)
}

fn hand_over(call: &ModuleCall, state: &str, own: &str, uid: Option<u32>, gid: Option<u32>) -> Result<(), Fault> {
    let Some(sha256) = call.args.get("_sha256").and_then(Value::as_str).filter(|sha| sha.bytes().all(|b| b.is_ascii_hexdigit())) else {
        return Ok(());
    };
    let (from, to) = (ModuleCall::spool_path_in(state, sha256), ModuleCall::spool_path_in(own, sha256));
    if fs::symlink_metadata(&from).is_err() {
        return Ok(());
    }
    lchown(&from, uid, gid).attempt("change the owner of", &from)?;
    fs::rename(&from, &to).attempt("move", &from)
}

/// The other end of a call for a different user: reads a [`ModuleCall`] as JSON from standard input, runs it as the user of this process,
/// and writes the [`ModuleReply`] as JSON to standard output. Used by the agent's `module` subcommand. Returns the exit code.
pub fn run_child() -> i32 {
    let mut request = Vec::new();
    let call = match std::io::stdin().read_to_end(&mut request) {
        Ok(_) => serde_json::from_slice::<ModuleCall>(&request).map_err(|err| err.to_string()),
        Err(err) => Err(err.to_string()),
    };
    let reply = match call {
        Ok(call) => crate::modules::run(&call),
        Err(err) => {
            let mut reply = ModuleReply::default();
            if let Value::Object(result) =
                json!({"failed": true, "changed": false, "msg": format!("no module call on standard input: {err}")})
            {
                reply.result = result;
            }
            reply
        }
    };
    let sent = serde_json::to_vec(&reply).map_err(std::io::Error::from).and_then(|bytes| std::io::stdout().write_all(&bytes));
    i32::from(sent.is_err())
}
