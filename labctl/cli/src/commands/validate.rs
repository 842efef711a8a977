//! `labctl validate`.

use std::path::PathBuf;
use std::process::ExitCode;

use labctl_core::{Failure, validation};

use crate::session::Session;

/// Arguments of `labctl validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files: lab files, scenarios, images, artifact files; the lab of this folder unless given
    files: Vec<PathBuf>,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let files = match args.files.is_empty() {
        true => vec![session.lab_file(&home)?],
        false => args.files,
    };
    for file in &files {
        let summary = validation::check(&home, file)?;
        session.out.result(&summary, || format!("{}: {}", file.display(), summary.text));
    }
    Ok(ExitCode::SUCCESS)
}
