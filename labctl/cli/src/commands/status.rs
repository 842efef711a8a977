//! `labctl status`.

use std::process::ExitCode;

use labctl_core::lifecycle;
use labctl_lab::Failure;
use labctl_lab::control::{LabStatus, NodeStatus};
use labctl_lab::event::NodeState;
use labctl_spec::lab::spell as ports;

use crate::output::Table;
use crate::output::time::{seconds_since, spell};
use crate::session::Session;

/// Arguments of `labctl status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(session: &Session, _args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let status = lifecycle::status(&home, &session.known_lab(&home)?).await?;
    session.out.result(&status, || table(&status));
    Ok(ExitCode::SUCCESS)
}

/// The nodes as a table, followed by their problems.
pub fn table(status: &LabStatus) -> String {
    let mut table = Table::new(&["NODE", "STATE", "UPTIME", "ADDRESS", "HOST ADDRESS", "CPUS", "MEMORY", "GROUPS", "PUBLISHED"]);
    for node in &status.nodes {
        table.row([
            node.name.to_string(),
            if node.left { format!("{}, not in the lab file", node.state.word()) } else { node.state.word().to_owned() },
            node.life.since_unix_ms.map_or_else(|| "-".to_owned(), |since| spell(seconds_since(since))),
            node.address.to_string(),
            if node.loopback.is_unspecified() { "-".to_owned() } else { node.loopback.to_string() },
            node.cpus.to_string(),
            format!("{} MiB", node.memory_mib),
            node.groups.join(","),
            ports(&node.all_published()),
        ]);
    }
    let mut text = table.render();
    let troubles: Vec<String> = status.nodes.iter().flat_map(troubles).chain(status.failed_restore.iter().map(restore)).collect();
    if !troubles.is_empty() {
        text += &format!("\n\n{}", troubles.join("\n"));
    }
    text
}

/// A node's current problem, and its last panic.
fn troubles(node: &NodeStatus) -> Vec<String> {
    let now = node.state.why().map(|why| format!("{} is {}: {why}", node.name, node.state.word()));
    let panicked = matches!(node.state, NodeState::Panicked { .. });
    let before = node.life.last_panic.as_ref().filter(|_| !panicked || node.life.panics > 1).map(|panic| {
        let times = if node.life.panics == 1 { String::new() } else { format!(" {} times, the last time", node.life.panics) };
        format!("{}: its kernel panicked{times} {} ago: {}", node.name, spell(seconds_since(panic.at_unix_ms)), panic.line)
    });
    now.into_iter().chain(before).collect()
}

fn restore(why: &Failure) -> String {
    let hint = why.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    format!("the last restore failed: {}{hint}", why.message)
}

#[cfg(test)]
mod tests {
    use labctl_lab::Kind;
    use labctl_lab::control::{LifeStatus, Panic};

    use super::*;

    fn node(name: &str, state: NodeState, life: LifeStatus) -> NodeStatus {
        NodeStatus {
            name: name.parse().unwrap(),
            state,
            address: "10.70.0.10".parse().unwrap(),
            loopback: "127.70.0.10".parse().unwrap(),
            hostnames: Vec::new(),
            groups: Vec::new(),
            published: Vec::new(),
            published_udp: Vec::new(),
            pid: None,
            memory_mib: 256,
            cpus: 1,
            left: false,
            life,
        }
    }

    fn lab(nodes: Vec<NodeStatus>) -> LabStatus {
        LabStatus { lab: "tiny".into(), supervisor: None, accel: None, nodes, failed_restore: None }
    }

    fn ago(seconds: u64) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        u64::try_from(now).unwrap() - seconds * 1000
    }

    #[test]
    fn a_node_shows_since_when_it_runs() {
        let runs = LifeStatus { since_unix_ms: Some(ago(300)), ..LifeStatus::default() };
        let text = table(&lab(vec![node("a", NodeState::Running, runs), node("b", NodeState::Off, LifeStatus::default())]));
        let columns: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
        assert_eq!(columns[0][..3], ["NODE", "STATE", "UPTIME"]);
        assert_eq!(columns[1][..3], ["a", "running", "5 min"]);
        assert_eq!(columns[2][..3], ["b", "off", "-"]);
        assert_eq!(columns.len(), 3, "nothing is wrong: {text}");
    }

    #[test]
    fn what_is_wrong_stands_below_the_table() {
        let panics = |panics| LifeStatus {
            panics,
            last_panic: Some(Panic { at_unix_ms: ago(180), line: "Kernel panic - not syncing: x".into() }),
            ..LifeStatus::default()
        };
        let mut lab = lab(vec![
            node("a", NodeState::Running, panics(2)),
            node("b", NodeState::Panicked { why: "Kernel panic - not syncing: x".into() }, panics(1)),
            node("c", NodeState::Silent { why: "its agent has not answered".into() }, LifeStatus::default()),
        ]);
        lab.failed_restore = Some(Failure::new(Kind::Machine, "WHY").hint("WAY OUT"));
        let text = table(&lab);
        let (_, below) = text.split_once("\n\n").unwrap();
        assert_eq!(
            below,
            "a: its kernel panicked 2 times, the last time 3 min ago: Kernel panic - not syncing: x\n\
             b is panicked: Kernel panic - not syncing: x\n\
             c is silent: its agent has not answered\n\
             the last restore failed: WHY\nWAY OUT"
        );
    }

    #[test]
    fn programs_read_what_is_known_of_its_life() {
        let life = LifeStatus {
            since_unix_ms: Some(2),
            started_unix_ms: Some(1),
            boot_id: Some("id".into()),
            reboots: 1,
            ..LifeStatus::default()
        };
        let json = serde_json::to_value(node("a", NodeState::Running, life)).unwrap();
        assert_eq!((&json["since_unix_ms"], &json["started_unix_ms"], &json["reboots"]), (&2.into(), &1.into(), &1.into()));
        assert_eq!((&json["boot_id"], &json["panics"], &json["last_panic"]), (&"id".into(), &0.into(), &serde_json::Value::Null));
    }
}
