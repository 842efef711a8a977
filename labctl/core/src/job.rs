//! Nomad jobs that lie beside the lab file: rendered on the host, compared and run by the agent of a node with Nomad (`nomad_deploy`), which
//! waits as long as there is progress.

mod diff;

use std::path::{Path, PathBuf};

use labctl_lab::client::Supervisor;
use labctl_lab::event::NodeState;
use labctl_lab::{Failure, Kind};
use labctl_provision::Inventory;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;
use labctl_wire::{ModuleCall, Put};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::exports;
use crate::nomad::Nomad;

pub use diff::lines;

/// A job's file, as it goes to Nomad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The file it comes from.
    pub file: PathBuf,
    /// HCL, or JSON.
    pub text: String,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Its ID.
    pub job: String,
    /// Whether Nomad's job differed, or did not run as specified.
    pub changed: bool,
    /// Its version in Nomad now; none if there is no such job.
    pub version: Option<u64>,
    /// How the file differs from Nomad's job, as Nomad reports it.
    pub diff: Value,
    /// The state in words.
    pub message: String,
}

/// Folder of the jobs, beside the lab file.
const FOLDER: &str = "jobs";

/// Endings of a job's file; the first ones are templates.
const ENDINGS: [&str; 6] = [".nomad.j2", ".nomad.hcl.j2", ".hcl.j2", ".nomad", ".nomad.hcl", ".hcl"];

/// Where rendered jobs are put in the node: gone after a reboot.
const IN_NODE: &str = "/run/labctl-jobs";

/// Reads a job: a path, or a name in the folder `jobs` beside the lab file. Templates (`.j2`) are rendered with the variables of the node
/// whose Nomad is used, and `extra_vars`.
pub fn read(lab: &Lab, name: &str, extra_vars: &[String]) -> Result<Job, Failure> {
    let file = find(lab, name)?;
    if file.extension().is_none_or(|ending| ending != "j2") {
        if !extra_vars.is_empty() {
            return Err(Failure::new(Kind::Input, format!("{} is no template, so variables change nothing", file.display()))
                .hint("leave `-e` out, or give the file an ending `.j2` and use the variables in it: {{ count }}"));
        }
        let text = std::fs::read_to_string(&file).map_err(Failure::io(file.display()))?;
        return Ok(Job { file, text });
    }
    let host = exports::nomad_nodes(lab).first().copied().or(lab.nodes.first()).map(|node| node.name.to_string()).unwrap_or_default();
    let text = labctl_provision::render(&file, &Inventory::of_lab(lab), &host, extra_vars);
    Ok(Job { file, text: text.map_err(|why| Failure::new(Kind::Input, why.to_string()))? })
}

fn find(lab: &Lab, name: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(name);
    if name.contains('/') || ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        let missing = || Failure::new(Kind::NotFound, format!("{name} is no file"));
        return if path.is_file() { Ok(path.to_owned()) } else { Err(missing()) };
    }
    let folder = lab.file.parent().unwrap_or(Path::new(".")).join(FOLDER);
    let found = ENDINGS.iter().map(|ending| folder.join(format!("{name}{ending}"))).find(|file| file.is_file());
    found.ok_or_else(|| {
        let failure = Failure::new(Kind::NotFound, format!("there is no job `{name}` in {}", folder.display()));
        let known = names(&folder);
        failure.hint(match known.is_empty() {
            true => format!("put it there as {name}.nomad, or {name}.nomad.j2 for a template; or name a file by its path"),
            false => format!("jobs there: {}; or name a file by its path", known.join(", ")),
        })
    })
}

/// Names of the jobs in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |file: String| ENDINGS.iter().find_map(|ending| file.strip_suffix(ending).map(str::to_owned));
    let mut names: Vec<String> = entries.filter_map(|entry| name(entry.file_name().into_string().ok()?)).collect();
    names.sort();
    names.dedup();
    names
}

/// Compares a job with what Nomad has.
pub async fn plan(supervisor: &Supervisor, lab: &Lab, job: &Job) -> Result<Outcome, Failure> {
    let nomad = reach(supervisor, lab).await?;
    let mut outcome = deploy(supervisor, &nomad, job, true).await?;
    outcome.version = match nomad.get(&nomad.job_path(&outcome.job, "")).await {
        Ok(known) => known["Version"].as_u64(),
        Err(why) if why.kind == Kind::NotFound => None,
        Err(why) => return Err(why),
    };
    Ok(outcome)
}

/// Makes a job run as its file says; returns once it does.
pub async fn run(supervisor: &Supervisor, lab: &Lab, job: &Job) -> Result<Outcome, Failure> {
    let nomad = reach(supervisor, lab).await?;
    deploy(supervisor, &nomad, job, false).await
}

/// Stops a job; returns once none of its allocations runs.
pub async fn stop(supervisor: &Supervisor, lab: &Lab, id: &str, purge: bool) -> Result<(), Failure> {
    let nomad = reach(supervisor, lab).await?;
    nomad.get(&nomad.job_path(id, "")).await.map_err(|why| match why.kind {
        Kind::NotFound => Failure::new(Kind::NotFound, format!("Nomad has no job `{id}`")),
        _ => why,
    })?;
    nomad.delete(&nomad.job_path(id, &format!("?purge={purge}"))).await?;
    let mut index = 1;
    loop {
        let (allocations, newer) = nomad.newer(&nomad.job_path(id, "/allocations"), index).await?;
        let runs = |one: &Value| matches!(one["ClientStatus"].as_str(), Some("pending" | "running"));
        if !allocations.as_array().into_iter().flatten().any(runs) {
            return Ok(());
        }
        index = newer;
    }
}

/// Nomad on a node of the lab.
async fn reach<'a>(supervisor: &'a Supervisor, lab: &Lab) -> Result<Nomad<'a>, Failure> {
    let status = supervisor.status().await?;
    let running = status.nodes.iter().filter(|node| node.state == NodeState::Running);
    let running: Vec<NodeName> = running.map(|node| node.name.clone()).collect();
    Nomad::find(supervisor, lab, &running).await.map_err(crate::nomad::nowhere)
}

async fn deploy(supervisor: &Supervisor, nomad: &Nomad<'_>, job: &Job, check: bool) -> Result<Outcome, Failure> {
    let agent = supervisor.agent(&nomad.node).await?;
    let name = job.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = format!("{IN_NODE}/{}", name.trim_end_matches(".j2"));
    let put = Put { path: path.clone(), mode: 0o600, size: job.text.len() as u64, ..Put::default() };
    agent.put(put, job.text.as_bytes()).await?;
    let mut args = Map::new();
    args.insert("file".into(), path.into());
    args.extend(nomad.token().map(|token| ("token".to_owned(), token.into())));
    let call = ModuleCall { module: "nomad_deploy".into(), args, check, diff: true, ..ModuleCall::default() };
    outcome(&nomad.node, job, &agent.module(call).await?.result)
}

/// The module's result.
fn outcome(node: &NodeName, job: &Job, result: &Map<String, Value>) -> Result<Outcome, Failure> {
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if result.get("failed") == Some(&json!(true)) {
        // What the node says names its own copy of the file.
        return Err(Failure::new(Kind::Machine, format!("{}: on {node}: {}", job.file.display(), text("msg"))));
    }
    let diff = result.get("diff").cloned().unwrap_or_default();
    let prepared = diff["prepared"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let said = Some(text("msg")).filter(|said| !said.is_empty());
    // In a comparison, what is wrong with a job that is the same.
    let wrong = diff["before"].as_str().filter(|before| !before.is_empty()).map(str::to_owned);
    Ok(Outcome {
        job: text("name"),
        changed: result.get("changed") == Some(&json!(true)),
        version: result.get("version").and_then(Value::as_u64),
        diff: prepared,
        message: said.or(wrong).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(folder: &Path) -> Lab {
        labctl_spec::parse_lab("name: j\nvariables: {count: 2}\nnodes: [{name: s, publish: [4646]}]\n", &folder.join("lab.yml")).unwrap()
    }

    #[test]
    fn jobs_are_found_by_name_and_templates_rendered() {
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path());
        let none = read(&lab, "web", &[]).unwrap_err();
        assert!(none.hint.unwrap().contains("web.nomad.j2"));
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        std::fs::write(folder.path().join("jobs/web.nomad.j2"), "count = {{ count }}\n").unwrap();
        std::fs::write(folder.path().join("jobs/db.hcl"), "{{ as it is }}").unwrap();
        assert_eq!(read(&lab, "web", &[]).unwrap().text, "count = 2\n");
        assert_eq!(read(&lab, "web", &["count=5".into()]).unwrap().text, "count = 5\n");
        assert_eq!(read(&lab, "db", &[]).unwrap().text, "{{ as it is }}");
        assert_eq!(read(&lab, "db", &["count=5".into()]).unwrap_err().kind, Kind::Input);
        let unknown = read(&lab, "wbe", &[]).unwrap_err();
        assert!(unknown.hint.unwrap().starts_with("jobs there: db, web"));
        let path = folder.path().join("jobs/db.hcl").display().to_string();
        assert_eq!(read(&lab, &path, &[]).unwrap().text, "{{ as it is }}");
        assert_eq!(read(&lab, "./nowhere.nomad", &[]).unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn results_of_the_node_become_outcomes() {
        let job = Job { file: "jobs/web.nomad".into(), text: String::new() };
        let node = "s".parse().unwrap();
        let result = |value: Value| outcome(&node, &job, value.as_object().unwrap());
        let done = result(
            json!({ "name": "web", "changed": true, "version": 3, "msg": "job web: 2 of web run", "diff": { "prepared": "{\"Type\":\"Edited\"}" } }),
        );
        let done = done.unwrap();
        assert_eq!((done.version, done.diff["Type"].as_str(), done.message.as_str()), (Some(3), Some("Edited"), "job web: 2 of web run"));
        let wrong =
            result(json!({ "name": "web", "changed": true, "diff": { "before": "the job is stopped", "prepared": "{}" } })).unwrap();
        assert_eq!((wrong.version, wrong.message.as_str()), (None, "the job is stopped"));
        let failed = result(json!({ "failed": true, "msg": "WHY" })).unwrap_err();
        assert_eq!((failed.kind, failed.message.as_str()), (Kind::Machine, "jobs/web.nomad: on s: WHY"));
    }
}
