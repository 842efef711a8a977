//! `labctl env`.

use std::process::ExitCode;

use labctl_core::exports;
use labctl_lab::Failure;
use serde_json::{Map, Value};

use crate::session::Session;

/// Arguments of `labctl env`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  eval \"$(labctl env)\"                                     sh, bash, zsh\n  labctl env --shell fish | source\n  labctl env --shell powershell | Out-String | Invoke-Expression"
)]
pub struct Args {
    /// Shell that reads the lines
    #[arg(long, value_enum, default_value = "sh")]
    shell: Shell,
}

/// Shells.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Sh,
    Fish,
    Powershell,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let exports = exports::of(&session.record(&home)?);
    let shell = match args.shell {
        Shell::Sh => exports::Shell::Sh,
        Shell::Fish => exports::Shell::Fish,
        Shell::Powershell => exports::Shell::Powershell,
    };
    let values: Map<String, Value> = exports.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    session.out.result(&values, || shell.lines(&exports));
    Ok(ExitCode::SUCCESS)
}
