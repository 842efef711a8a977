//! `labctl up`.

use std::process::ExitCode;

use labctl_core::control::LabStatus;
use labctl_core::lifecycle::{self, Birth, Work};
use labctl_core::{Failure, provisioning};

use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes or groups; all unless given
    nodes: Vec<String>,
    /// Further nodes or groups, separated by commas
    #[arg(long, value_name = "GROUPS")]
    limit: Option<String>,
    /// Only start the machines
    #[arg(long)]
    no_provision: bool,
    /// Boot new nodes instead of forking them from templates
    #[arg(long)]
    cold: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.lab(&home)?;
    let nodes = session.nodes(&lab, &args.nodes, args.limit.as_deref())?;
    if !args.no_provision {
        // A missing role is known before the first machine starts.
        provisioning::check(&home, &lab)?;
    }
    let each = |event| session.out.event(&event);
    let birth = if args.cold { Birth::Cold } else { Birth::Fork };
    let lab_home = home.lab(&lab.name);
    let _work = Work::begin(&lab_home, &each).await?;
    let supervisor = lifecycle::up(&home, lab.clone(), &nodes, birth, &each).await?;
    session.out.finish();
    if !args.no_provision && !lab.provision.is_empty() {
        let options = provisioning::Options::default();
        super::provision::perform(session, &home, &lab, &supervisor, &provisioning::What::Lab, &nodes, options).await?;
    }
    let status = supervisor.status().await?;
    session.out.result(&status, || summary(&status));
    Ok(ExitCode::SUCCESS)
}

/// What a user wants to see when a lab has come up.
fn summary(status: &LabStatus) -> String {
    let mut text = super::status::table(status);
    let mut urls = Table::new(&["PUBLISHED", "", "NAME (after `labctl hosts apply`)"]);
    let mut any = false;
    for node in &status.nodes {
        for (host, port) in &node.published {
            any = true;
            let name = node.hostnames.last().unwrap_or(&node.loopback.to_string()).clone();
            let suffix = if *host == 80 { String::new() } else { format!(":{host}") };
            urls.row([format!("{} {port}", node.name), format!("http://{}{suffix}/", node.loopback), format!("http://{name}{suffix}/")]);
        }
    }
    if any {
        text += &format!("\n\n{}", urls.render());
    }
    let first = status.nodes.first().map_or("NODE", |node| node.name.as_str());
    text + &format!(
        "\n\nNext: labctl ssh {first} | labctl exec {first} -- uptime | sudo labctl hosts apply | labctl scenario list | labctl halt"
    )
}
