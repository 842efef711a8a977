//! `labctl validate`.

use std::path::PathBuf;
use std::process::ExitCode;

use labctl_core::validation;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl validate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl validate\n  labctl validate hosts/*.yml images/*.yml scenarios/*.yml\n\nNothing is started or changed. All errors in all files are reported; the exit code is 0 only if there are none."
)]
pub struct Args {
    /// Lab files, scenarios, images or artifact files [default: the lab of this folder]
    files: Vec<PathBuf>,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let (home, _scratch) = validation::home()?;
    let files = match args.files.is_empty() {
        true => vec![session.lab_file(&home)?],
        false => args.files,
    };
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        match validation::check(&home, file) {
            Ok(summary) => session.out.result(&summary, || {
                let notes = summary.notes.iter().map(|note| format!("\n  note: if it runs, it fails: {note}"));
                format!("{}: {}{}", file.display(), summary.text, notes.collect::<String>())
            }),
            // Check the rest too, so that the user can fix everything in one pass.
            Err(why) => {
                session.out.failure(&why);
                code = ExitCode::from(why.kind.exit_code());
            }
        }
    }
    Ok(code)
}
