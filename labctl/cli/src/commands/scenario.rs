//! `labctl scenario`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use labctl_core::chaos::{self, Ended, Event, Options, Verdict, What};
use labctl_lab::work::Work;
use labctl_lab::{Failure, Kind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl scenario`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with scenarios.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Run a scenario and print a report; exit code 9 unless it passed
    Run {
        /// The scenario's file, or its name in the list
        file: PathBuf,
        /// Seed of all random choices [default: a new one]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Show the scenarios next to the lab file, and those that come with labctl
    List,
    /// Undo every active fault
    Heal,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    match args.action {
        Action::List => list(session),
        Action::Run { file, seed } => run_one(session, &file, seed).await,
        Action::Heal => {
            let lab = session.record(&home)?.lab;
            let lab_home = home.lab(&lab.name);
            let supervisor = session.supervisor(&lab_home, &lab.name).await?;
            let healing = chaos::heal(supervisor, &lab_home).await?;
            session.out.result(&healing, || match (healing.healed.is_empty(), healing.failed.is_empty()) {
                (true, true) => "no fault is active".to_owned(),
                _ => [healing.healed.iter().map(|what| format!("healed: {what}")).collect::<Vec<_>>(), healing.failed.clone()]
                    .concat()
                    .join("\n"),
            });
            match healing.failed.is_empty() {
                true => Ok(ExitCode::SUCCESS),
                false => Ok(ExitCode::from(Kind::Machine.exit_code())),
            }
        }
    }
}

async fn run_one(session: &Session, file: &Path, seed: Option<u64>) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home);
    // Mistakes in the scenario are reported even if the lab has not been brought up yet.
    let lab = match &record {
        Ok(record) => record.lab.clone(),
        Err(_) => session.lab(&home)?,
    };
    let file = &chaos::locate(&home, &lab.file, file)?;
    let scenario = chaos::load(file, &lab)?;
    record?;
    let lab_home = home.lab(&lab.name);
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&lab_home, &each).await?;
    let supervisor = session.supervisor(&lab_home, &lab.name).await?;
    let options = Options {
        seed: seed.unwrap_or_else(chaos::new_seed),
        command: format!("labctl --lab {} scenario run {}", lab.name, file.display()),
        ..Options::default()
    };
    let out = session.out.clone();
    let show = move |event: Event| match out.is_json() {
        true => out.json_line(&event),
        false => out.say(&line(&event)),
    };
    let stops = Stops::listen()?;
    let first = async {
        stops.nth(1).await;
        session.out.say("interrupted: undoing what is in force; a second Ctrl-C does not wait for that");
    };
    let ended = tokio::select! {
        ended = chaos::run(supervisor, &lab_home, &lab, &scenario, &options, show, first) => ended?,
        () = stops.nth(2) => {
            let left = chaos::in_force(&lab_home)?.into_iter().map(|lease| lease.what).collect();
            Ended::Stopped(chaos::Healing { healed: Vec::new(), failed: left })
        }
    };
    let report = match ended {
        Ended::Over(report) => report,
        Ended::Stopped(healing) => return Ok(stopped(session, &healing)),
    };
    let path = chaos::keep_report(&lab_home, &report)?;
    session.out.result(&report, || format!("\n{}\n\nreport: {}", chaos::render(&report, session.out.colour()).trim_end(), path.display()));
    Ok(match report.verdict {
        Verdict::Passed => ExitCode::SUCCESS,
        _ => ExitCode::from(Kind::Scenario.exit_code()),
    })
}

/// Reports what an interrupted scenario has left. The exit code is that of a program that SIGINT (2) has ended.
fn stopped(session: &Session, healing: &chaos::Healing) -> ExitCode {
    session.out.result(healing, || match healing.healed.is_empty() && healing.failed.is_empty() {
        true => "nothing was in force".to_owned(),
        false => healing.healed.iter().map(|what| format!("healed: {what}")).collect::<Vec<_>>().join("\n"),
    });
    if !healing.failed.is_empty() {
        let left = Failure::new(Kind::Scenario, format!("still in force: {}", healing.failed.join("\n")));
        session.out.failure(&left.hint("`labctl scenario heal` undoes it"));
    }
    ExitCode::from(128 + 2)
}

/// Counts requests to stop: Ctrl-C, `kill`. Not a terminal that is closed: nohup(1) must work, and what is in force then is undone by the
/// supervisor.
struct Stops(watch::Receiver<u32>);

impl Stops {
    fn listen() -> Result<Self, Failure> {
        let (count, counted) = watch::channel(0);
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (mut signals, count) = (signal(kind).map_err(Failure::io("cannot watch for signals"))?, count.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Self(counted))
    }

    /// Waits until there were so many of them.
    async fn nth(&self, wanted: u32) {
        if self.0.clone().wait_for(|count| *count >= wanted).await.is_err() {
            std::future::pending().await
        }
    }
}

/// An event as a line of live output.
fn line(event: &Event) -> String {
    let text = match &event.what {
        What::Started { scenario, seed } => format!("{scenario}, seed {seed}"),
        What::Probe { probe, holds, answer } => format!("{} {probe}: {answer}", if *holds { "+" } else { "-" }),
        What::Steady { .. } => "steady state holds".to_owned(),
        What::Step { text, .. } => text.clone(),
        What::Shot { node, unit, pid, fate, .. } => format!("{node} {unit} (pid {pid}): {fate}"),
        What::Released { frames, dropped, held_ms } => format!("network held for {held_ms:.1} ms: {frames} frames, {dropped} dropped"),
        What::Back { node, unit, old_pid, new_pid, after_ms } => {
            format!("{node} {unit}: pid {old_pid} -> {new_pid} after {:.1} s", *after_ms as f64 / 1e3)
        }
        What::Down { node, unit, state } => format!("{node} {unit}: down again ({state})"),
        What::Mishap { node, what } => format!("{node}: {what}"),
        What::Healed { what } => format!("healed: {what}"),
        What::NotHealed { what, error } => format!("not healed: {what}: {error}"),
        What::Recovered { after_ms } => format!("steady state again {:.1} s after the shot", *after_ms as f64 / 1e3),
        What::Finished { .. } => "done".to_owned(),
    };
    format!("{:>8.1} s  {text}", event.at_ms as f64 / 1e3)
}

fn list(session: &Session) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let file = session.lab_file(&home)?;
    let found = chaos::list(&home, &file)?;
    session.out.result(&found, || {
        let mut table = Table::new(&["SCENARIO", "WHAT IT SHOWS"]);
        let mut mistakes = String::new();
        for scenario in &found {
            match scenario.mistakes.is_empty() {
                true => table.row([scenario.name.clone(), scenario.description.clone()]),
                false => {
                    table.row([scenario.name.clone(), "its file has mistakes, see below".to_owned()]);
                    mistakes.push_str(&format!("\n\n{}", scenario.mistakes));
                }
            }
        }
        [table.render(), mistakes].concat()
    });
    Ok(ExitCode::SUCCESS)
}
