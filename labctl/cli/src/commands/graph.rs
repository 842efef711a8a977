//! `labctl graph`.

use std::process::ExitCode;

use labctl_core::graph;
use labctl_lab::Failure;
use serde_json::json;

use crate::session::Session;

/// Arguments of `labctl graph`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl graph > lab.svg                    for a document: follows its light or dark theme\n  labctl graph --format dot | dot -Tpdf -o lab.pdf"
)]
pub struct Args {
    /// What to print
    #[arg(long, value_enum, default_value = "svg")]
    format: Format,
}

/// Formats of pictures.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A picture for browsers and documents
    Svg,
    /// Input for Graphviz
    Dot,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let lab = session.lab(&session.home()?)?;
    let (format, picture) = match args.format {
        Format::Svg => ("svg", graph::svg(&lab)),
        Format::Dot => ("dot", graph::dot(&lab)),
    };
    session.out.result(&json!({ "lab": lab.name, "format": format, "picture": picture }), || picture.clone());
    Ok(ExitCode::SUCCESS)
}
