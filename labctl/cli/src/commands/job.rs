//! `labctl job`.

use std::process::ExitCode;

use labctl_core::job::{self, Outcome};
use labctl_lab::Failure;
use serde_json::json;

use crate::session::Session;

/// Arguments of `labctl job`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl job plan web                    jobs/web.nomad, or the template jobs/web.nomad.j2, beside the lab file\n  labctl job run web -e count=5          returns when the job runs as specified\n  labctl job render ./other.nomad.j2 -e @vars.yml\n  labctl job stop web --purge"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with a job.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show how a job's file differs from what Nomad has
    Plan(Named),
    /// Make a job run as its file says, and wait until it does
    Run(Named),
    /// Stop a job, and wait until none of it runs
    Stop {
        /// The job's ID in Nomad
        name: String,
        /// Make Nomad forget it as well
        #[arg(long)]
        purge: bool,
    },
    /// Print a job's file as it would go to Nomad
    Render(Named),
}

/// A job's file and its variables.
#[derive(Debug, clap::Args)]
struct Named {
    /// Name of a file in `jobs/` beside the lab file, without its ending, or a path
    name: String,
    /// Variables for a template: k=v, JSON, or @file
    #[arg(long, short, value_name = "VARS")]
    extra_vars: Vec<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    if let Action::Render(named) = &args.action {
        let job = job::read(&session.known_lab(&home)?, &named.name, &named.extra_vars)?;
        session.out.result(&json!({ "file": job.file, "text": job.text }), || job.text.trim_end_matches('\n').to_owned());
        return Ok(ExitCode::SUCCESS);
    }
    let record = session.record(&home)?;
    let lab = &record.lab;
    // What is wrong with the file is said before anything is started.
    let read = |named: &Named| job::read(lab, &named.name, &named.extra_vars);
    let file = match &args.action {
        Action::Plan(named) | Action::Run(named) | Action::Render(named) => Some(read(named)?),
        Action::Stop { .. } => None,
    };
    let supervisor = session.supervisor(&home.lab(&lab.name), &lab.name).await?;
    match (args.action, file) {
        (Action::Plan(_), Some(file)) => {
            let outcome = job::plan(&supervisor, lab, &file).await?;
            session.out.result(&outcome, || planned(&outcome));
        }
        (Action::Run(_), Some(file)) => {
            let outcome = job::run(&supervisor, lab, &file).await?;
            session.out.result(&outcome, || ran(&outcome));
        }
        (Action::Stop { name, purge }, _) => {
            job::stop(&supervisor, lab, &name, purge).await?;
            session.out.result(&json!({ "job": name, "stopped": true, "purged": purge }), || format!("job {name} is stopped"));
        }
        (Action::Render(_), _) | (_, None) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn planned(outcome: &Outcome) -> String {
    let version = outcome.version.map_or_else(|| "Nomad does not have it yet".to_owned(), |version| format!("Nomad has version {version}"));
    let mut lines = job::lines(&outcome.diff);
    lines.push(match (outcome.changed, lines.is_empty()) {
        (false, _) => format!("job {}: {version}; nothing would change", outcome.job),
        (true, false) => format!("job {}: {version}", outcome.job),
        (true, true) => format!("job {}: {version}, which is the same, but {}", outcome.job, outcome.message),
    });
    lines.join("\n")
}

fn ran(outcome: &Outcome) -> String {
    let version = outcome.version.map(|version| format!(" (version {version})")).unwrap_or_default();
    let changed = if outcome.changed { "" } else { "; nothing had to be done" };
    format!("{}{version}{changed}", outcome.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(changed: bool, diff: serde_json::Value) -> Outcome {
        Outcome { job: "web".into(), changed, version: Some(3), diff, message: "the job is stopped".into() }
    }

    #[test]
    fn a_plan_says_what_nomad_has() {
        let same = json!({ "Type": "None", "ID": "web" });
        assert_eq!(planned(&outcome(false, same.clone())), "job web: Nomad has version 3; nothing would change");
        assert_eq!(planned(&outcome(true, same)), "job web: Nomad has version 3, which is the same, but the job is stopped");
        let new = Outcome { version: None, ..outcome(true, json!({ "Type": "Added", "ID": "web" })) };
        assert_eq!(planned(&new), "+ job web\njob web: Nomad does not have it yet");
    }

    #[test]
    fn a_run_says_the_version() {
        let done = Outcome { message: "job web: 2 of web run".into(), ..outcome(false, json!(null)) };
        assert_eq!(ran(&done), "job web: 2 of web run (version 3); nothing had to be done");
    }
}
