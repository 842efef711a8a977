//! Runs a command on a node.

use std::time::Duration;

use labctl_spec::scenario::{Command, ExecCheck};

use super::http::holds;
use super::{Answer, excerpt};
use crate::target::ProbeTarget;

pub(super) async fn ask(check: &ExecCheck, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    let argv = match &check.command {
        Command::Argv(argv) => argv.clone(),
        Command::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
    };
    let answer = match target.exec(&check.node, &argv, limit).await {
        Ok(answer) => answer,
        Err(error) => return Answer::no(error.message),
    };
    // Its error output, if any, is more useful than its standard output.
    let said = match excerpt(&answer.stderr) {
        said if said.is_empty() => excerpt(&answer.stdout),
        said => said,
    };
    if let Some(text) = &check.contains {
        return if holds(&answer.stdout, text) {
            Answer::yes(format!("printed `{text}`"))
        } else {
            let code = answer.code;
            Answer::no(format!("`{text}` is not in its output, exit code {code}: {said}"))
        };
    }
    match answer.code {
        0 => Answer::yes("exit code 0"),
        code => Answer::no(format!("exit code {code}: {said}")),
    }
}
