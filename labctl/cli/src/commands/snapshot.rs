//! `labctl snapshot`.

use std::process::ExitCode;
use std::time::SystemTime;

use labctl_core::snapshot::{self, How, Memory};
use labctl_lab::event::Event;
use labctl_lab::snapshot::Snapshot;
use labctl_lab::work::Work;
use labctl_lab::{Failure, Kind};
use serde::Serialize;

use crate::output::Table;
use crate::output::time::{seconds_since, spell};
use crate::session::Session;

/// Arguments of `labctl snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with snapshots.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Save memory, devices and disks of all nodes at one moment; they resume immediately
    Save {
        /// Its name
        name: String,
        /// Replace an existing snapshot with this name
        #[arg(long)]
        replace: bool,
        /// Compare the saved memory with the nodes' memory, page by page; they are paused for longer
        #[arg(long)]
        verify: bool,
    },
    /// Restore the whole lab to a snapshot; everything since then is discarded
    #[command(visible_alias = "rewind")]
    Restore {
        /// Its name
        name: String,
        /// Restore only the disks and boot the nodes
        #[arg(long)]
        cold: bool,
    },
    /// Show the lab's snapshots
    #[command(visible_alias = "ls")]
    List,
    /// Remove snapshots
    #[command(visible_alias = "delete")]
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show what has changed since a snapshot: nodes, disks, the lab file
    Diff {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct Listed {
    name: String,
    nodes: usize,
    created_unix: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    pause_ms: u64,
    memory_may_be_wrong: bool,
}

impl Listed {
    fn of(snapshot: &Snapshot) -> Self {
        let since = snapshot.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            name: snapshot.name.clone(),
            nodes: snapshot.nodes.len(),
            created_unix: since.as_secs(),
            memory_bytes: snapshot.memory(),
            disk_bytes: snapshot.disks(),
            pause_ms: snapshot.pause_ms,
            memory_may_be_wrong: snapshot.may_be_wrong(),
        }
    }
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let each = |event| session.out.event(&event);
    match args.action {
        Action::Save { name, replace, verify } => {
            let lab = session.record(&home)?.lab;
            own(&name)?;
            let _work = Work::begin(&home.lab(&lab.name), &each).await?;
            let saved = snapshot::save(&home, &lab.name, &name, How { replace, verify }, &each).await?;
            session.out.finish();
            session.out.result(&Listed::of(&saved), || {
                format!(
                    "saved `{name}`: {} nodes, {} MiB of memory; they were paused for {} ms",
                    saved.nodes.len(),
                    saved.memory() >> 20,
                    saved.pause_ms
                )
            });
        }
        Action::Restore { name, cold } => {
            session.record(&home)?;
            let lab = session.lab(&home)?;
            let _work = Work::begin(&home.lab(&lab.name), &each).await?;
            let memory = if cold { Memory::Boot } else { Memory::GoOn };
            let supervisor = snapshot::restore(&home, &lab, &name, memory, &each).await?;
            session.out.finish();
            let status = supervisor.status().await?;
            session.out.result(&status, || format!("{}\n\nback at `{name}`", super::status::table(&status)));
        }
        Action::List => {
            let lab = session.known_lab(&home)?;
            let (good, bad) = labctl_lab::snapshot::list(&home.lab(&lab.name));
            for why in bad {
                session.out.say(&format!("cannot be read: {why}"));
            }
            let listed: Vec<Listed> = good.iter().map(Listed::of).collect();
            for one in listed.iter().filter(|one| one.memory_may_be_wrong) {
                let text = format!(
                    "the memory of `{0}` may be wrong: it was saved by an older labctl; use `labctl snapshot restore {0} --cold`",
                    one.name
                );
                session.out.event(&Event::Warning { text });
            }
            session.out.result(&listed, || table(&listed));
        }
        Action::Rm { names } => {
            let lab = session.known_lab(&home)?;
            let _work = Work::begin(&home.lab(&lab.name), &each).await?;
            for name in names {
                snapshot::remove(&home, &lab.name, &name)?;
            }
        }
        Action::Diff { name } => {
            let record = session.record(&home)?;
            let found = labctl_lab::snapshot::find(&home.lab(&record.lab.name), &name)?;
            let record = match session.lab(&home) {
                Ok(lab) => record.with_lab(lab),
                // A lab file that cannot be read counts as different; its text is shown.
                Err(why) if why.kind == Kind::Input => record,
                Err(why) => return Err(why),
            };
            let difference = snapshot::diff(&home.lab(&record.lab.name), &found, &record);
            session.out.result(&difference, || show(&difference));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Rejects names reserved for labctl.
fn own(name: &str) -> Result<(), Failure> {
    match name.starts_with('+') {
        true => Err(Failure::new(Kind::Input, format!("`{name}`: names that start with `+` are reserved")).hint("choose another name")),
        false => Ok(()),
    }
}

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new(&["SNAPSHOT", "AGE", "NODES", "MEMORY", "DISKS", "PAUSE"]);
    for snapshot in listed {
        table.row([
            snapshot.name.clone(),
            spell(seconds_since(snapshot.created_unix * 1000)),
            snapshot.nodes.to_string(),
            format!("{} MiB", snapshot.memory_bytes >> 20),
            format!("{} MiB", snapshot.disk_bytes >> 20),
            format!("{} ms", snapshot.pause_ms),
        ]);
    }
    table.render()
}

fn show(difference: &snapshot::Difference) -> String {
    let mut lines = difference.nodes.clone();
    for (node, written) in &difference.disks {
        lines.push(match written {
            Some(bytes) => format!("{node}: its disk has grown by {} KiB since", bytes >> 10),
            None => format!("{node}: its disk is not based on this snapshot"),
        });
    }
    match &difference.lab_file {
        None => lines.push("the lab file is the same".to_owned()),
        Some((then, now)) => lines.push(similar::TextDiff::from_lines(then, now).unified_diff().header("then", "now").to_string()),
    }
    lines.join("\n")
}
