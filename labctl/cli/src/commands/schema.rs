//! `labctl schema`.

use std::process::ExitCode;

use labctl_lab::Failure;
use labctl_spec as spec;

use crate::session::Session;

/// Arguments of `labctl schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file format
    #[arg(value_enum, default_value = "lab")]
    format: Format,
}

/// A labctl file format.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Lab,
    Image,
    Scenario,
    Artifacts,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let schema = match args.format {
        Format::Lab => spec::lab_schema(),
        Format::Image => spec::image_schema(),
        Format::Scenario => spec::scenario_schema(),
        Format::Artifacts => spec::artifact_schema(),
    };
    session.out.result(&schema, || serde_json::to_string_pretty(&schema).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
