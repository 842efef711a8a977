//! `labctl inventory`.

use std::process::ExitCode;

use labctl_core::inventory::Inventory;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl inventory`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ansible-playbook -i <(labctl inventory) site.yml       needs YAML, the default\n  labctl inventory --ini > hosts.ini\n\nAs a dynamic inventory, an executable file with these two lines:\n  #!/bin/sh\n  exec labctl --lab LAB inventory \"$@\""
)]
pub struct Args {
    #[command(flatten)]
    format: Format,
}

/// What to print.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Format {
    /// YAML [default]
    #[arg(long)]
    yaml: bool,
    /// INI
    #[arg(long)]
    ini: bool,
    /// JSON, as Ansible asks of a dynamic inventory
    #[arg(long)]
    list: bool,
    /// The variables of one host as JSON, as Ansible asks of a dynamic inventory
    #[arg(long, value_name = "NODE")]
    host: Option<String>,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let inventory = Inventory::of(&home, &record)?;
    let Format { ini, list, host, .. } = args.format;
    match host {
        Some(host) => session.out.json_line(&inventory.host(&host)?),
        None if list || session.out.is_json() => session.out.json_line(&inventory.list()),
        None if ini => session.out.text(inventory.ini().trim_end()),
        None => session.out.text(inventory.yaml().trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
