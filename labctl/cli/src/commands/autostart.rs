//! `labctl autostart`.

use std::process::ExitCode;

use labctl_core::autostart::{self, Status, Systemd};
use labctl_lab::Failure;

use super::up;
use crate::session::Session;

/// Arguments of `labctl autostart`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It starts the labs that were brought up before and have `autostart: true` in their lab file. Without \"linger\", a user's\nservices run only while the user is logged in: `loginctl enable-linger` has them start at boot."
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Action {
    /// Have systemd start the marked labs when you log in (or when the host boots, see below)
    Enable,
    /// Do not start labs any more; those that run go on running
    Disable,
    /// Show whether labs are started, and which [default]
    Status,
    /// Bring the marked labs up; the unit runs this
    #[command(hide = true)]
    Run,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let systemd = match args.action {
        Some(Action::Run) => return bring_up(session).await,
        _ => Systemd::of_user()?,
    };
    let changed = match args.action {
        Some(Action::Enable) => Some(systemd.enable()?),
        Some(Action::Disable) => Some(systemd.disable()?),
        _ => None,
    };
    if changed == Some(false) {
        session.out.say("nothing to do");
    }
    let status = systemd.status(&home);
    session.out.result(&status, || text(&status));
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    match (status.enabled, status.at_boot) {
        (false, _) => lines.push("autostart is off; to start labs by themselves: labctl autostart enable".to_owned()),
        (true, true) => lines.push("autostart is on: labs start when this host boots".to_owned()),
        (true, false) => {
            lines.push("autostart is on: labs start when you log in; `loginctl enable-linger` has them start at boot".to_owned());
        }
    }
    if let Some(gone) = status.program.as_ref().filter(|program| !program.exists()) {
        lines.push(format!("warning: {} no longer exists; to use this program: labctl autostart enable", gone.display()));
    }
    let names: Vec<&str> = status.labs.iter().map(|name| name.as_str()).collect();
    lines.push(match names.is_empty() {
        true => "no lab is marked: write `autostart: true` in a lab file, and bring the lab up once".to_owned(),
        false => format!("marked labs: {}", names.join(", ")),
    });
    lines.join("\n")
}

/// Brings all marked labs up; one that fails does not keep the others from starting.
async fn bring_up(session: &Session) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for lab in autostart::marked(&session.home()?) {
        let about = session.about(&lab.file.display().to_string());
        if let Err(failure) = up::run(&about, up::Args::default()).await {
            session.out.failure(&failure);
            code = ExitCode::from(failure.kind.exit_code());
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let mut status = Status { enabled: false, unit: "/u".into(), program: None, at_boot: false, labs: Vec::new() };
        let off = text(&status);
        assert!(off.contains("labctl autostart enable") && off.contains("no lab is marked"), "{off}");
        (status.enabled, status.program, status.labs) = (true, Some("/nowhere/labctl".into()), vec!["demo".parse().unwrap()]);
        let on = text(&status);
        assert!(on.contains("loginctl enable-linger") && on.contains("/nowhere/labctl no longer exists"), "{on}");
        assert!(on.ends_with("marked labs: demo"), "{on}");
        (status.at_boot, status.program) = (true, Some("/bin/sh".into()));
        assert_eq!(text(&status), "autostart is on: labs start when this host boots\nmarked labs: demo");
    }
}
