//! `labctl completion`.

use std::process::ExitCode;

use labctl_lab::Failure;

use super::habits;
use crate::output::write_out;
use crate::session::Session;

/// Arguments of `labctl completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell, or `man` for the manual page
    #[arg(value_enum)]
    kind: Kind,
}

/// What to print.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
    Man,
}

pub fn run(_session: &Session, args: Args) -> Result<ExitCode, Failure> {
    use clap_complete::Shell;
    let shell = match args.kind {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
        Kind::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(habits::command()).render(&mut page).map_err(Failure::io("render the manual page"))?;
            write_out(&page);
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut habits::command(), "labctl", &mut script);
    write_out(&script);
    Ok(ExitCode::SUCCESS)
}
