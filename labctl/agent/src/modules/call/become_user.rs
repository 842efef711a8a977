//! Tasks that run as another user.

use std::io::{Read, Write};

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::root::Root;
use crate::modules::call::spawn::Spawn;

/// Whether the task's user is another than the one this process runs as.
pub(crate) fn is_needed(root: &Root, call: &ModuleCall) -> Result<bool, Fault> {
    let Some(name) = call.become_user.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(false);
    };
    let user = passwd::user(root, name).ok_or_else(|| Fault::from(format!("failed to look up user {name} to become")))?;
    Ok(user.uid != rustix::process::geteuid().as_raw())
}

/// Modules that take on the user in the one process that they start, and so need no child of ours.
pub(crate) fn spawns_itself(module: &str) -> bool {
    matches!(module, "command" | "shell" | "raw")
}

/// Runs the call in a child of this program that is that user.
pub(crate) fn run_as(root: &Root, call: &ModuleCall) -> Outcome {
    let name = call.become_user.clone().unwrap_or_default();
    let inner = ModuleCall { become_user: None, ..call.clone() };
    let request = serde_json::to_vec(&inner).map_err(|err| Fault::from(err.to_string()))?;
    let mut env = call.environment.clone();
    env.insert(labctl_wire::STATE_VARIABLE.to_owned(), ModuleCall::state_folder());
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
        Fault::from(format!("the module run as {name} gave no result: {err}")).with("rc", output.rc).with("module_stderr", output.err())
    })?;
    Ok(Done { result: reply.result, needs_content: reply.needs_content })
}

/// The other end of a call for another user: reads a [`ModuleCall`] as JSON from standard input, runs it as whoever this
/// process is, and writes the [`ModuleReply`] as JSON to standard output. The agent's `module` subcommand calls this. Returns
/// the exit code.
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
