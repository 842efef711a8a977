//! `labctl hosts`.

use std::path::PathBuf;
use std::process::ExitCode;

use labctl_core::hosts_file;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl hosts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The hosts file
    #[arg(long, global = true, default_value = "/etc/hosts")]
    file: PathBuf,
}

/// What to do with the lab's block.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write the lab's names into the hosts file
    Apply,
    /// Remove them again
    Remove,
    /// Print the lines without touching any file
    Print,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let edited = match args.action {
        Action::Print => {
            session.out.text(hosts_file::lines(&session.record(&home)?).trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        Action::Apply => {
            let record = session.record(&home)?;
            hosts_file::edit(&args.file, &record.lab.name, Some(&hosts_file::lines(&record)))?
        }
        Action::Remove => hosts_file::edit(&args.file, &session.known_lab(&home)?.name, None)?,
    };
    for shadowed in &edited.shadowed {
        session.out.say(&format!("warning: {shadowed}"));
    }
    let said = if edited.changed { "changed" } else { "is up to date; nothing to do" };
    session.out.say(&format!("{} {said}", args.file.display()));
    Ok(ExitCode::SUCCESS)
}
