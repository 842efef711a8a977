//! `labctl up`.

use std::process::ExitCode;

use labctl_core::provisioning;
use labctl_core::up::{self, How};
use labctl_core::validation::Plays;
use labctl_lab::Failure;
use labctl_lab::client::Supervisor;
use labctl_lab::control::LabStatus;
use labctl_spec::lab::{Protocol, Publish};

use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl up`.
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl up                        the whole lab\n  labctl up client1 --cold         one node, booted\n  labctl up --limit servers        a group\n\nWhen repeated, it starts what is not running, and applies those changes to the lab file that can be applied."
)]
pub struct Args {
    /// Nodes or groups [default: all]
    nodes: Vec<String>,
    /// More nodes or groups, separated by commas
    #[arg(long, value_name = "GROUPS")]
    limit: Option<String>,
    /// Only start the machines
    #[arg(long)]
    no_provision: bool,
    /// Boot new nodes instead of forking them from templates
    #[arg(long)]
    cold: bool,
    /// Do not reuse previously provisioned state: neither a kept lab nor baked layers
    #[arg(long)]
    no_cache: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    // A missing role is reported before the first machine starts.
    let lab = session.sound_lab(&home, if args.no_provision { Plays::Left } else { Plays::Read })?;
    let nodes = session.nodes(&lab, &args.nodes, args.limit.as_deref())?;
    let each = |event| session.out.event(&event);
    let how = How { cold: args.cold, provision: !args.no_provision, cache: !args.no_cache };
    let provision = async |supervisor: &Supervisor, inputs| {
        session.out.finish();
        let options = provisioning::Options { inputs, ..provisioning::Options::default() };
        super::provision::perform(session, &home, &lab, supervisor, &provisioning::What::Lab, &nodes, options).await
    };
    let supervisor = up::up(&home, &lab, &nodes, how, &each, provision).await?;
    finish(session, &supervisor).await
}

async fn finish(session: &Session, supervisor: &Supervisor) -> Result<ExitCode, Failure> {
    session.out.finish();
    let status = supervisor.status().await?;
    session.out.result(&status, || summary(&status));
    Ok(ExitCode::SUCCESS)
}

/// What a user wants to see after a lab has come up.
fn summary(status: &LabStatus) -> String {
    let mut text = super::status::table(status);
    let mut urls = Table::new(&["PUBLISHED", "", "NAME (after `labctl hosts apply`)"]);
    let mut any = false;
    for node in &status.nodes {
        for Publish { host, node: port, protocol } in node.all_published() {
            any = true;
            let name = node.hostnames.last().unwrap_or(&node.loopback.to_string()).clone();
            if protocol == Protocol::Udp {
                urls.row([format!("{} {port}/udp", node.name), format!("{}:{host}/udp", node.loopback), format!("{name}:{host}/udp")]);
                continue;
            }
            let suffix = if host == 80 { String::new() } else { format!(":{host}") };
            urls.row([format!("{} {port}", node.name), format!("http://{}{suffix}/", node.loopback), format!("http://{name}{suffix}/")]);
        }
    }
    if any {
        text += &format!("\n\n{}", urls.render());
    }
    let first = status.nodes.first().map_or("NODE", |node| node.name.as_str());
    text + &format!(
        "\n\nNext: labctl ssh {first} | labctl exec {first} -- uptime | labctl hosts apply | labctl scenario list | labctl halt"
    )
}
