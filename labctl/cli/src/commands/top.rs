//! `labctl top`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use labctl_core::usage::{Meter, NodeUsage, Usage, Want};
use labctl_lab::Failure;
use tokio::time::{MissedTickBehavior, interval};

use crate::output::{Table, write_out};
use crate::session::Session;

/// Arguments of `labctl top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl top                            live, until Ctrl-C\n  labctl top clients --once\n  labctl top --fit web-server           how many more instances of a Nomad job fit\n  labctl top --fit cpu=20,memory=20     the same for so many MHz and MiB\n\nCPU is what the guest itself calls busy, of all its CPUs; of HOST CPU, 100 % is one processor of the host."
)]
pub struct Args {
    /// Nodes or groups [default: all]
    nodes: Vec<String>,
    /// Print one table and exit; also if the output is no terminal
    #[arg(long)]
    once: bool,
    /// Seconds between measurements, and of what one table covers
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Show how many more instances have room: of a Nomad job, or of so many MHz and MiB
    #[arg(long, value_name = "JOB|cpu=MHZ,memory=MIB")]
    fit: Option<Want>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let nodes = session.nodes(&record.existing_lab(), &args.nodes, None)?;
    let supervisor = session.supervisor(&home.lab(&record.lab.name), &record.lab.name).await?;
    let mut meter = Meter::new(&supervisor, &record, &nodes);
    let live = !args.once && !session.out.is_json() && std::io::stdout().is_terminal();
    // Processor time is measured between two moments, so the first measurement is not shown.
    meter.measure(None).await?;
    let mut clock = interval(Duration::from_secs(args.every));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await;
    let mut shown = 0;
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = tokio::signal::ctrl_c(), if live => return Ok(ExitCode::SUCCESS),
        }
        let usage = meter.measure(args.fit.as_ref()).await?;
        if !live {
            session.out.result(&usage, || table(&usage));
            return Ok(ExitCode::SUCCESS);
        }
        let text = table(&usage);
        // Back over the last table (ECMA-48: CPL, ED), so that the newest one stays when the command ends.
        let back = if shown == 0 { String::new() } else { format!("\x1b[{shown}F\x1b[J") };
        write_out(format!("{back}{text}\n").as_bytes());
        shown = text.lines().count();
    }
}

/// The nodes as a table, followed by what fits.
fn table(usage: &Usage) -> String {
    let nomad = usage.nodes.iter().any(|node| node.nomad.is_some());
    let mut headings = vec!["NODE", "CPU", "MEMORY", "HOST CPU", "HOST MEMORY"];
    if nomad {
        headings.extend(["NOMAD", "JOBS' CPU", "JOBS' MEMORY", "ALLOCS"]);
    }
    if usage.fit.is_some() {
        headings.push("MORE FIT");
    }
    let mut table = Table::new(&headings);
    for node in &usage.nodes {
        let mut row = own(node);
        if nomad {
            row.extend(jobs(node));
        }
        if usage.fit.is_some() {
            row.push(known(node.nomad.as_ref().and_then(|client| client.fits).map(|fits| fits.to_string())));
        }
        table.row(row);
    }
    let mut text = table.render();
    if let Some(fit) = &usage.fit {
        let of = fit.job.as_ref().map(|job| format!(" of job {job}")).unwrap_or_default();
        text += &format!("\n\n{} more instances{of} fit, each with {} MHz and {} MiB", fit.more, fit.cpu_mhz, fit.memory_mib);
    }
    text
}

fn own(node: &NodeUsage) -> Vec<String> {
    let percent = |value: Option<f64>| known(value.map(|value| format!("{value:.0} %")));
    let name = if node.state == "running" { node.node.to_string() } else { format!("{} ({})", node.node, node.state) };
    vec![
        name,
        percent(node.cpu_percent),
        known(node.memory_used_mib.zip(node.memory_mib).map(|(used, all)| format!("{used}/{all} MiB"))),
        percent(node.host_cpu_percent),
        known(node.host_memory_mib.map(|mib| format!("{mib} MiB"))),
    ]
}

fn jobs(node: &NodeUsage) -> Vec<String> {
    match &node.nomad {
        Some(client) => vec![
            client.status.clone(),
            format!("{}/{} MHz", client.cpu_allocated_mhz, client.cpu_mhz),
            format!("{}/{} MiB", client.memory_allocated_mib, client.memory_mib),
            client.allocations.to_string(),
        ],
        None => vec!["-".to_owned(); 4],
    }
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use labctl_core::usage::{Client, Fit};

    use super::*;

    fn node(name: &str) -> NodeUsage {
        NodeUsage {
            node: name.parse().unwrap(),
            state: "running",
            cpus: 1,
            cpu_percent: Some(12.4),
            memory_used_mib: Some(80),
            memory_mib: Some(231),
            host_cpu_percent: Some(25.6),
            host_memory_mib: Some(110),
            nomad: None,
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let off = NodeUsage {
            state: "off",
            cpu_percent: None,
            memory_used_mib: None,
            host_cpu_percent: None,
            host_memory_mib: None,
            ..node("b")
        };
        let text = table(&Usage { lab: "t".into(), nodes: vec![node("a"), off], fit: None });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NODE     CPU   MEMORY      HOST CPU  HOST MEMORY");
        assert_eq!(lines[1], "a        12 %  80/231 MiB  26 %      110 MiB");
        assert_eq!(lines[2], "b (off)  -     -           -         -");
    }

    #[test]
    fn jobs_have_columns_if_there_is_nomad() {
        let client = Client {
            name: "c".into(),
            status: "ready".into(),
            cpu_mhz: 900,
            cpu_allocated_mhz: 200,
            memory_mib: 400,
            memory_allocated_mib: 128,
            allocations: 2,
            fits: Some(7),
        };
        let nodes = vec![node("s"), NodeUsage { nomad: Some(client), ..node("c") }];
        let fit = Fit { job: Some("web".into()), cpu_mhz: 100, memory_mib: 20, more: 7 };
        let text = table(&Usage { lab: "t".into(), nodes, fit: Some(fit) });
        assert!(text.lines().nth(2).unwrap().ends_with("ready  200/900 MHz  128/400 MiB   2       7"), "{text}");
        assert!(text.ends_with("\n\n7 more instances of job web fit, each with 100 MHz and 20 MiB"), "{text}");
    }
}
