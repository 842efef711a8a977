//! A job's file on the node, parsed by Nomad.

use std::path::Path;

use serde_json::{Value, json};

use crate::modules::call::outcome::Fault;
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::Task;
use crate::modules::network::nomad::api::{Api, No};
use crate::modules::network::nomad::patience::Patience;

/// Nomad's API error for functions that read files, such as `file()`: only its command line supports them.
const NEEDS_FILES: &str = "filesystem function";

/// Nomad's functions with another result each time. People use them to have a job deployed again by each run.
const NEVER_THE_SAME: [&str; 3] = ["uuidv4", "timestamp", "bcrypt"];

/// The specification of a job.
pub(super) struct Jobspec {
    pub(super) id: String,
    pub(super) job: Value,
    /// The file's text, which Nomad's web interface shows.
    source: Option<String>,
    /// Whether the file's text alone determines the job. It does not if it reads other files, the clock or random numbers.
    pub(super) alone: bool,
}

impl Jobspec {
    /// Interprets a file's text: HCL, or JSON as written by `nomad job run -output`.
    pub(super) fn read(task: &Task<'_>, api: &Api<'_>, file: &Path, text: String, patience: &mut Patience) -> Result<Self, Fault> {
        let mut alone = true;
        let (value, source) = if text.trim_start().starts_with('{') {
            let value: Value = serde_json::from_str(&text).map_err(|why| Fault::from(format!("it is not JSON: {why}")))?;
            (value, None)
        } else {
            let (value, by_api) = parse(task, api, file, &text, patience)?;
            alone = by_api && !NEVER_THE_SAME.iter().any(|function| text.contains(function));
            (value, Some(text))
        };
        let mut job = value.get("Job").cloned().unwrap_or(value);
        let id = job["ID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let id = id.ok_or_else(|| Fault::from("the job has no ID"))?;
        if task.args.filled("namespace").is_some() {
            job["Namespace"] = api.namespace.as_str().into();
        }
        Ok(Self { id, job, source, alone })
    }

    /// The namespace given in the file.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.job["Namespace"].as_str().filter(|name| !name.is_empty())
    }

    /// The request body that registers this job.
    pub(super) fn registration(&self) -> Value {
        let mut job = self.job.clone();
        job["Stop"] = false.into();
        match &self.source {
            Some(source) => json!({"Job": job, "Submission": {"Source": source, "Format": "hcl2"}}),
            None => json!({"Job": job}),
        }
    }

    /// The same job with a difference that affects no instance: registered before the job itself, it makes Nomad see a new version.
    pub(super) fn nearly(&self) -> Value {
        let mut nearly = self.registration();
        let priority = nearly["Job"]["Priority"].as_i64().filter(|priority| *priority > 0).unwrap_or(50);
        nearly["Job"]["Priority"] = if priority > 1 { priority - 1 } else { priority + 1 }.into();
        nearly
    }
}

/// The job, and whether Nomad's interface could parse it.
fn parse(task: &Task<'_>, api: &Api<'_>, file: &Path, text: &str, patience: &mut Patience) -> Result<(Value, bool), Fault> {
    let body = json!({"JobHCL": text, "Canonicalize": true});
    // A refusal is examined below, so it is not a fault yet.
    let answer = patience.must(api, "job parser", || match api.post("/jobs/parse", &body) {
        Err(No::Refused(why)) => Ok(Err(why)),
        other => other.map(Ok),
    })?;
    match answer {
        Ok(job) => Ok((job, true)),
        Err(why) if why.contains(NEEDS_FILES) => Ok((by_command_line(task, file)?, false)),
        Err(why) => Err(why.into()),
    }
}

/// Relative files are looked up beside the job's file, where they were copied with it.
fn by_command_line(task: &Task<'_>, file: &Path) -> Result<Value, Fault> {
    let mut spawn = Spawn::of(task, ["nomad", "job", "run", "-output"]);
    spawn.argv.push(file.to_string_lossy().into_owned());
    if let Some(folder) = file.parent() {
        spawn = spawn.cwd(folder);
    }
    let output = spawn.must()?;
    serde_json::from_slice(&output.stdout).map_err(|why| format!("nomad job run -output did not print JSON: {why}").into())
}
