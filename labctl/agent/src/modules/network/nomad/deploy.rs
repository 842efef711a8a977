//! `nomad_deploy` (labctl's own): a job of Nomad runs as its file on the node says.
//!
//! ```text
//! file ─▶ parse ─▶ compare ─┬─ as asked ─────────────────────────────▶ unchanged
//!                           ├─ Nomad is at it ───────────────┐
//!                           └─ differs, stopped, failed,     ▼
//!                              instances missing ─▶ mend ─▶ wait ─▶ as asked
//! ```
//! `nomad_job` only registers. This one also looks at what became of the job, so that a run of a playbook mends whatever has happened
//! to it since, and waits for as long as something moves.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{int, on, path, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::nomad::api::Api;
use crate::modules::network::nomad::clients;
use crate::modules::network::nomad::jobspec::Jobspec;
use crate::modules::network::nomad::judge::{Astray, Standing};
use crate::modules::network::nomad::look::{Allocation, Look, look};
use crate::modules::network::nomad::patience::{Patience, given_up};
use crate::modules::network::nomad::words;
use crate::modules::network::rest::quote;

pub(crate) const MODULE: Module = Module {
    names: &["nomad_deploy"],
    params: &[
        path("file").must(),
        text("address").or("http://127.0.0.1:4646"),
        text("namespace"),
        text("token"),
        int("clients").or("0"),
        int("patience").or("600"),
        int("timeout").or("30"),
        on("validate_certs"),
        path("ca_path"),
    ],
    files: false,
    run,
};

/// How long an evaluation that waits for clients or room is left to itself while every client is ready: nothing is at work then that
/// a slow machine could hold up.
const STUCK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

fn run(task: &Task<'_>) -> Outcome {
    let file = task.args.path("file").unwrap_or_default();
    if task.check && (!file.exists() || !answers(task)) {
        // Earlier tasks of the same run would have brought both.
        return Ok(json!({"changed": true, "msg": "the job's file or Nomad is not there yet"}).into());
    }
    let limit = Duration::from_secs(task.args.int("patience").unwrap_or(600).max(1) as u64);
    let mut work = Work { task, api: Api::new(task), patience: Patience::new(limit), did: Vec::new() };
    let outcome = work.run(&file);
    outcome.map_err(|fault| {
        let changed = !work.did.is_empty();
        Fault { msg: format!("{}: {}", file.display(), fault.msg), ..fault }.with("changed", changed)
    })
}

/// Whether there is a Nomad at all.
fn answers(task: &Task<'_>) -> bool {
    Api::new(task).get::<Value>("/status/leader").is_ok()
}

struct Work<'a> {
    task: &'a Task<'a>,
    api: Api<'a>,
    patience: Patience,
    /// What was done, in words.
    did: Vec<&'static str>,
}

impl Work<'_> {
    fn run(&mut self, file: &Path) -> Outcome {
        let spec = Jobspec::read(self.task, &self.api, file, &mut self.patience)?;
        if let Some(namespace) = spec.namespace() {
            self.api.namespace = namespace.to_owned();
        }
        self.settle(&spec).map_err(|fault| Fault { msg: format!("job {}: {}", spec.id, fault.msg), ..fault })
    }

    fn settle(&mut self, spec: &Jobspec) -> Outcome {
        let path = format!("/job/{}", quote(&spec.id));
        let api = &self.api;
        let body = json!({"Job": spec.job, "Diff": true});
        let plan = self.patience.must(api, "way to plan a job", || api.post(&format!("{path}/plan"), &body))?;
        let differs = plan["Diff"]["Type"] != "None";
        let found = self.patience.insist(api, || look(api, &spec.id))?;
        let standing = match &found {
            None => Standing::Astray(Astray::Stopped, "there is no such job".into()),
            Some(found) => self.surely(&spec.id, found.standing())?,
        };
        let (astray, why) = match &standing {
            Standing::Astray(astray, why) => (Some(*astray), why.as_str()),
            Standing::AsAsked(_) | Standing::UnderWay(_) => (None, ""),
        };
        let mut result = Map::new();
        result.insert("name".into(), spec.id.clone().into());
        result.insert("changed".into(), (differs || astray.is_some()).into());
        self.task.put_diff(&mut result, || json!({"before": why, "after": "", "prepared": plan["Diff"].to_string()}));
        if self.task.check {
            return Ok(result.into());
        }
        if let (false, Some(found), Standing::AsAsked(words)) = (differs, &found, &standing) {
            return Ok(reported(result, found, &spec.id, words).into());
        }
        if differs || astray.is_some() {
            let wanted = usize::try_from(self.task.args.int("clients").unwrap_or(0)).unwrap_or(0);
            clients::wait_for(&self.api, wanted, clients::needs_consul(&spec.job), &mut self.patience)?;
            self.mend(spec, &path, found.as_ref(), differs, astray)?;
        }
        let (look, words) = self.wait(&spec.id)?;
        result.insert("did".into(), self.did.clone().into());
        Ok(reported(result, &look, &spec.id, &words).into())
    }

    /// That instances are missing is believed only if a second look finds it too: between two questions of the first one Nomad may have
    /// begun to replace them.
    fn surely(&mut self, id: &str, first: Standing) -> Result<Standing, Fault> {
        if !matches!(first, Standing::Astray(Astray::Missing, _)) {
            return Ok(first);
        }
        let api = &self.api;
        Ok(self.patience.must(api, "such job any more", || look(api, id))?.standing())
    }

    fn mend(&mut self, spec: &Jobspec, path: &str, found: Option<&Look>, differs: bool, astray: Option<Astray>) -> Result<(), Fault> {
        let failed: Vec<&Allocation> =
            found.map(|found| found.allocations.iter().filter(|one| one.is_failed()).collect()).unwrap_or_default();
        let stays = |one: &&Allocation| found.is_some_and(|found| found.keeps_failed(&one.task_group));
        if astray.is_some() && failed.iter().any(stays) {
            // Nomad puts nothing in the place of these but for a job that begins anew.
            self.stop(path)?;
            self.register(spec.registration(), "started anew")?;
            return Ok(());
        }
        match astray {
            _ if differs => self.register(spec.registration(), "registered")?,
            Some(Astray::Stopped) => self.register(spec.registration(), "started")?,
            Some(Astray::Failed) => {
                // Nomad goes on only with another version. What runs is left running.
                self.register(spec.nearly(), "deployed again")?;
                self.register(spec.registration(), "deployed again")?;
            }
            Some(Astray::Missing) | None => {}
        }
        // Of jobs that wait for their time or their call there is nothing to place.
        let placed = spec.job["Periodic"].is_null() && spec.job["ParameterizedJob"].is_null();
        if placed && (astray == Some(Astray::Missing) && !differs || !failed.is_empty()) {
            let body = json!({"JobID": spec.id, "EvalOptions": {"ForceReschedule": true}});
            let api = &self.api;
            self.patience.must(api, "such job", || api.post(&format!("{path}/evaluate"), &body))?;
            self.note("placed what was missing");
        }
        Ok(())
    }

    fn note(&mut self, did: &'static str) {
        if !self.did.contains(&did) {
            self.did.push(did);
        }
    }

    fn register(&mut self, body: Value, did: &'static str) -> Result<(), Fault> {
        let api = &self.api;
        self.patience.must(api, "way to register a job", || api.post("/jobs", &body))?;
        self.note(did);
        Ok(())
    }

    /// Stops the job, and waits until Nomad has done so.
    fn stop(&mut self, path: &str) -> Result<(), Fault> {
        let api = &self.api;
        let answer = self.patience.must(api, "such job", || api.delete(path))?;
        self.note("stopped");
        let evaluation = format!("/evaluation/{}", answer["EvalID"].as_str().unwrap_or_default());
        loop {
            let api = &self.api;
            let seen = self.patience.must(api, "such evaluation", || api.get::<Value>(&evaluation))?;
            if seen.value["Status"] != "pending" {
                return Ok(());
            }
            if self.patience.is_over() {
                return Err(format!("{}: Nomad does not stop it; see `nomad job status`", self.patience.words()).into());
            }
            if api.given_up() {
                return Err(given_up());
            }
            self.patience.must(api, "such evaluation", || api.await_newer(&evaluation, seen.index))?;
        }
    }

    /// Waits until the job runs as asked; gives the last look and what it saw. Ends at once where Nomad says that it failed.
    fn wait(&mut self, id: &str) -> Result<(Look, String), Fault> {
        let mut begun = None;
        loop {
            let api = &self.api;
            let seen = self.patience.must(api, "such job any more", || look(api, id))?;
            let version = *begun.get_or_insert(seen.job.version);
            if seen.job.version != version {
                return Err(self.replaced(id, version));
            }
            self.patience.note(seen.facts());
            match self.surely(id, seen.standing())? {
                Standing::AsAsked(words) => return Ok((seen, words)),
                Standing::Astray(Astray::Missing, why) => return Err(next_step(&reasons(&seen, why), id)),
                Standing::Astray(_, why) => return Err(next_step(&why, id)),
                Standing::UnderWay(words) => self.go_on(&seen, &words, id)?,
            }
            let (path, index) = &seen.newer;
            let api = &self.api;
            self.patience.must(api, "such job any more", || api.await_newer(path, *index))?;
        }
    }

    /// Whether it is worth waiting on.
    fn go_on(&mut self, seen: &Look, words: &str, id: &str) -> Result<(), Fault> {
        if self.patience.is_over() {
            return Err(next_step(&reasons(seen, format!("{}: {words}", self.patience.words())), id));
        }
        let api = &self.api;
        if seen.is_stuck() && self.patience.quiet() >= STUCK && self.patience.must(api, "clients", || clients::all_ready(api))? {
            return Err(next_step(&reasons(seen, format!("Nomad finds no place for it: {words}")), id));
        }
        if api.given_up() { Err(given_up()) } else { Ok(()) }
    }

    /// Another version runs than the one that was waited for: Nomad went back to an older one, or somebody else registered one.
    fn replaced(&mut self, id: &str, version: u64) -> Fault {
        let path = format!("/job/{}/deployments", quote(id));
        let all = self.api.get::<Value>(&path).map(|answer| answer.value).unwrap_or_default();
        let mine = all.as_array().into_iter().flatten().find(|one| one["JobVersion"] == version);
        match mine.and_then(|one| one["StatusDescription"].as_str()) {
            Some(why) if mine.is_some_and(|one| one["Status"] == "failed") => next_step(&format!("its deployment failed: {why}"), id),
            _ => "another version of it was registered meanwhile; labctl provision compares again".into(),
        }
    }
}

fn reported(mut result: Map<String, Value>, look: &Look, id: &str, words: &str) -> Map<String, Value> {
    result.insert("version".into(), look.job.version.into());
    result.insert("msg".into(), format!("job {id}: {words}").into());
    result
}

/// What is wrong, and why instances are not placed or do not run.
fn reasons(seen: &Look, wrong: String) -> String {
    [vec![wrong], words::placement(&seen.evaluations), words::troubled(seen.current(), seen.deployment.is_some())].concat().join("; ")
}

/// A failure with what to do next.
fn next_step(why: &str, id: &str) -> Fault {
    format!("{why}. Look with `nomad job status {id}`; once the cause is mended, labctl provision deploys it again").into()
}
