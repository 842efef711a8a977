//! `labctl up`.

use std::process::ExitCode;
use std::time::SystemTime;

use labctl_core::client::Supervisor;
use labctl_core::control::LabStatus;
use labctl_core::event::Event;
use labctl_core::home::Home;
use labctl_core::lifecycle::{self, Birth, Work};
use labctl_core::snapshot::{self, provisioned};
use labctl_core::spec::lab::Lab;
use labctl_core::validation::Plays;
use labctl_core::{Failure, provisioning};

use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl up`.
#[derive(Debug, clap::Args)]
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
    let birth = match args.cold {
        true => Birth::Cold,
        // If nodes are only to be started, they must be exactly as the image is.
        false if args.no_provision || args.no_cache => Birth::Fork,
        false => Birth::Layered,
    };
    let lab_home = home.lab(&lab.name);
    let _work = Work::begin(&lab_home, &each).await?;
    // A suspended lab always resumes as a whole, because its disks belong to one moment.
    snapshot::finish_interrupted(&home, &lab.name, &each).await?;
    // Only a complete new lab is kept and restored, because it cannot contain anything that is not in its inputs.
    let whole = nodes.is_empty() && !args.no_provision && !lab.provision.is_empty() && provisioned::is_absent(&home, &lab)?;
    let key = match whole && !args.cold {
        true => kept_under(session, &home, &lab).await?,
        false => None,
    };
    if let Some(key) = key.as_deref().filter(|_| !args.no_cache)
        && let Some((_, kept)) = provisioned::restore(&home, &lab, key, &each).await?
    {
        session.out.say(&format!(
            "restored as it was provisioned {}, because no input has changed; --no-cache provisions again",
            ago(kept.created)
        ));
        let supervisor = lifecycle::up(&home, lab.clone(), &nodes, birth, &each).await?;
        return finish(session, &supervisor).await;
    }
    let supervisor = lifecycle::up(&home, lab.clone(), &nodes, birth, &each).await?;
    session.out.finish();
    let inputs = provisioning::Inputs::default();
    if !args.no_provision && !lab.provision.is_empty() {
        let options = provisioning::Options { inputs: inputs.clone(), ..provisioning::Options::default() };
        super::provision::perform(session, &home, &lab, &supervisor, &provisioning::What::Lab, &nodes, options).await?;
    }
    if let Some(key) = key {
        // The lab is up, so failing to keep it is not a failure of this command.
        match provisioned::keep(&home, &lab, &key, &inputs, &supervisor, &each).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => session.out.event(&Event::Note { text: format!("the provisioned lab is not kept: {why}") }),
            Err(why) => session.out.event(&Event::Warning { text: format!("the next `up` will provision again: {why}") }),
        }
    }
    finish(session, &supervisor).await
}

/// The key under which a provisioned lab is kept; if it cannot be kept, `None` and a note.
async fn kept_under(session: &Session, home: &Home, lab: &Lab) -> Result<Option<String>, Failure> {
    let each = |event| session.out.event(&event);
    match provisioned::key(home, lab, &each).await? {
        Ok(key) => Ok(Some(key)),
        Err(why) => {
            session.out.event(&Event::Note { text: format!("the provisioned lab will not be kept: {why}") });
            Ok(None)
        }
    }
}

fn ago(then: SystemTime) -> String {
    let minutes = then.elapsed().unwrap_or_default().as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
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
        "\n\nNext: labctl ssh {first} | labctl exec {first} -- uptime | labctl hosts apply | labctl scenario list | labctl halt"
    )
}
