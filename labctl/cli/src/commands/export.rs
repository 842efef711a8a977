//! `labctl export`.

use std::process::ExitCode;

use labctl_core::inventory::Inventory;
use labctl_core::{ssh, terraform};
use labctl_lab::Failure;
use serde_json::json;

use crate::session::Session;

/// Arguments of `labctl export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl export terraform > lab.tf.json    local.lab.nodes[\"web1\"].address, for example\n  labctl export hcl > lab.tf               the same in HCL\n  labctl export ansible-inventory > lab.yml"
)]
pub struct Args {
    /// What to print
    #[arg(value_enum)]
    format: Format,
}

/// Formats of other tools.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// An inventory for Ansible, as `inventory` prints it
    AnsibleInventory,
    /// A configuration for OpenSSH, as `ssh-config` prints it
    SshConfig,
    /// A local value with all nodes, for a file `lab.tf.json`
    Terraform,
    /// The same in HCL, for a file `lab.tf`
    Hcl,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let (format, text) = match args.format {
        Format::AnsibleInventory => ("ansible-inventory", Inventory::of(&home, &record)?.yaml()),
        Format::SshConfig => ("ssh-config", ssh::config(&home, &record, &[])?),
        Format::Terraform => ("terraform", terraform::json(&home, &record)?),
        Format::Hcl => ("hcl", terraform::hcl(&home, &record)?),
    };
    let text = text.trim_end();
    session.out.result(&json!({ "format": format, "text": text }), || text.to_owned());
    Ok(ExitCode::SUCCESS)
}
