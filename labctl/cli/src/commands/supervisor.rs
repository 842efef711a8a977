//! `labctl supervisor`: hidden; other commands start it.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;

/// Arguments of `labctl supervisor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the lab
    lab: String,
}

pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let lab: LabName = args.lab.parse().map_err(|why: labctl_spec::ident::BadName| Failure::new(Kind::Input, why.to_string()))?;
    let told = std::cell::Cell::new(false);
    let tell = |word: &str| {
        told.set(true);
        // The process that started us may have been killed; the next command will need us all the same.
        let _ = writeln!(std::io::stdout(), "{word}");
        // The process that started us reads no further; do not keep its pipe open. Standard error already goes to the
        // log.
        let _ = rustix::stdio::dup2_stdout(std::io::stderr().as_fd());
    };
    let ran = match Home::open() {
        Ok(home) => labctl_supervisor::run(home, &lab, tell).await,
        Err(why) => Err(why),
    };
    if let Err(why) = &ran
        && !told.get()
    {
        // The log may be on a full disk.
        let _ = writeln!(std::io::stdout(), "{why}");
    }
    ran.map(|()| ExitCode::SUCCESS)
}
