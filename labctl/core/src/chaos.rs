//! Chaos scenarios on a lab: the engine's access to it ([`LabTarget`]) and its journal ([`FaultJournal`]).

mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use labctl_chaos::{Event, Healing, Options, Report, Verdict, What, render};
use labctl_chaos::{FaultError, Journal, Lease, Owner};
use labctl_machine::vitals::Process;
use labctl_spec::lab::Lab;
use labctl_spec::load_scenario;
use labctl_spec::scenario::Scenario;
use serde::Serialize;

use crate::{project, shipped};
use labctl_lab::client::Supervisor;
use labctl_lab::home::{Home, LabHome};
use labctl_lab::journal::FaultJournal;
use labctl_lab::{Failure, Kind, persist};

pub use target::LabTarget;

/// Reads a scenario for a lab.
pub fn load(file: &Path, lab: &Lab) -> Result<Scenario, Failure> {
    load_scenario(file, Some(lab)).map_err(|why| project::from_load_error(&why))
}

/// How a run ended.
pub enum Ended {
    /// By itself.
    Over(Box<Report>),
    /// It was stopped, and what it had done was undone.
    Stopped(Healing),
}

/// Runs a scenario until it is over or `stop` returns. Either way nothing that it did stays in force; what could not be undone is in the
/// report or the healing.
pub async fn run(
    supervisor: Supervisor,
    home: &LabHome,
    lab: &Lab,
    scenario: &Scenario,
    options: &Options,
    events: impl Fn(Event) + Send + Sync,
    stop: impl Future<Output = ()>,
) -> Result<Ended, Failure> {
    let names = |nodes: &Vec<labctl_spec::ident::NodeName>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let groups: BTreeMap<String, Vec<String>> = lab.groups().iter().map(|(group, nodes)| (group.clone(), names(nodes))).collect();
    let target = Arc::new(LabTarget::new(supervisor.clone()));
    let journal = Arc::new(FaultJournal::new(home));
    let (pid, ticks) = (std::process::id().cast_signed(), Process::of(std::process::id().cast_signed()).0.ticks);
    let options = Options { owner: Some(Owner { pid, ticks }), ..options.clone() };
    let ours = |lease: &Lease| lease.scenario == scenario.name && lease.seed == options.seed;
    let stopped = async {
        stop.await;
        // Read before the run is dropped, which begins to undo them.
        in_force(home).unwrap_or_default()
    };
    let report = tokio::select! {
        report = labctl_chaos::run(scenario, &groups, target, journal, &options, events) => report,
        before = stopped => {
            let healing = undo(supervisor, home, Some(&ours)).await?;
            let left = in_force(home)?;
            let healed = before.into_iter().filter(|lease| ours(lease) && left.iter().all(|other| other.id != lease.id));
            return Ok(Ended::Stopped(Healing { healed: healed.map(|lease| lease.what).collect(), ..healing }));
        }
    };
    // A step that failed halfway may have left something. What the run itself could not undo is in its report.
    let told: Vec<&String> =
        report.timeline.iter().filter_map(|event| if let What::NotHealed { what, .. } = &event.what { Some(what) } else { None }).collect();
    let untold = |lease: &Lease| ours(lease) && !told.contains(&&lease.what);
    if in_force(home)?.iter().any(untold) {
        undo(supervisor, home, Some(&untold)).await?;
    }
    Ok(Ended::Over(Box::new(report)))
}

/// Undoes every fault in force.
pub async fn heal(supervisor: Supervisor, home: &LabHome) -> Result<Healing, Failure> {
    undo(supervisor, home, None).await
}

async fn undo(supervisor: Supervisor, home: &LabHome, only: Option<&(dyn Fn(&Lease) -> bool + Sync)>) -> Result<Healing, Failure> {
    labctl_chaos::heal(&FaultJournal::new(home), &LabTarget::new(supervisor), only).await.map_err(failed)
}

fn failed(why: FaultError) -> Failure {
    Failure::new(Kind::Machine, why.to_string())
}

/// The faults in force.
pub fn in_force(home: &LabHome) -> Result<Vec<Lease>, Failure> {
    FaultJournal::new(home).open().map_err(failed)
}

/// A seed for a run without a given one. Below 2^53, so that every reader of the JSON report reads the same number.
pub fn new_seed() -> u64 {
    rand::random_range(0..1 << 53)
}

/// Where a lab's reports are stored.
pub fn reports_folder(home: &LabHome) -> PathBuf {
    home.folder().join("reports")
}

/// The stored reports with their names, newest first. Files that are not reports of this version are skipped.
pub fn reports(home: &LabHome) -> Vec<(String, Report)> {
    let entries = reports_folder(home).read_dir().into_iter().flatten().flatten();
    let mut found: Vec<(String, Report)> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
            Some((name, persist::read_json(&path).ok()??))
        })
        .collect();
    found.sort_by(|(one, a), (other, b)| b.started_unix_ms.cmp(&a.started_unix_ms).then_with(|| one.cmp(other)));
    found
}

/// Stores a report in the lab's folder; returns its path.
pub fn keep_report(home: &LabHome, report: &Report) -> Result<PathBuf, Failure> {
    let path = reports_folder(home).join(format!("{}-{}.json", report.scenario, report.started_unix_ms));
    persist::write_json(&path, report)?;
    Ok(path)
}

/// Folders with scenarios: beside a lab file, above it, and those shipped with labctl.
fn folders(home: &Home, lab_file: &Path) -> Result<[PathBuf; 3], Failure> {
    let beside = lab_file.parent().unwrap_or(Path::new("."));
    Ok([beside.join("scenarios"), beside.join("../scenarios"), shipped::folder(home)?.join("scenarios")])
}

/// Finds the requested scenario: a file, or the name of one that [`list`] shows.
pub fn locate(home: &Home, lab_file: &Path, named: &Path) -> Result<PathBuf, Failure> {
    if named.exists() || named.components().count() != 1 {
        return Ok(named.to_owned());
    }
    let file = PathBuf::from(format!("{}.yml", named.display()));
    let found = folders(home, lab_file)?.into_iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no scenario `{}`", named.display()))
            .hint("`labctl scenario list` shows all scenarios")
    })
}

/// A scenario that a lab may run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name for `scenario run`.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// What it shows.
    pub description: String,
    /// What is wrong with its file, a line for each mistake; empty if it can run.
    pub mistakes: String,
}

/// The scenarios that a lab may run, by name. One beside the lab file hides a shipped one of the same name.
pub fn list(home: &Home, lab_file: &Path) -> Result<Vec<Listed>, Failure> {
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    for entry in folders(home, lab_file)?.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".yml")).map(str::to_owned) else { continue };
        found.entry(name.clone()).or_insert_with(|| {
            let file = path.canonicalize().unwrap_or(path);
            match load_scenario(&file, None) {
                Ok(scenario) => {
                    let description = scenario.description.unwrap_or(scenario.name);
                    Listed { name, file, description, mistakes: String::new() }
                }
                Err(why) => {
                    let mistakes = project::from_load_error(&why).message;
                    Listed { name, file, description: String::new(), mistakes }
                }
            }
        });
    }
    Ok(found.into_values().collect())
}
