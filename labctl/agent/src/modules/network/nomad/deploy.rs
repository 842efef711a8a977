//! `nomad_deploy` (labctl's own): ensures that a Nomad job runs as specified by its file on the node.
//!
//! ```text
//! file ─┬─▶ parse ─▶ compare ─┬─ as specified ────────────────────────▶ unchanged
//!       │                     ├─ in progress ──────────────────┐
//!       │                     └─ differs, stopped, failed,     ▼
//!       │                        instances missing ─▶ mend ─▶ wait ─▶ as specified
//!       └─▶ compared before, and the job is the same and runs ─────────▶ unchanged
//! ```
//! `nomad_job` only registers. This module also checks the state of the job, so that a playbook run repairs whatever has happened to it
//! since, and waits as long as there is progress.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{int, on, path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::nomad::api::{Api, No};
use crate::modules::network::nomad::clients;
use crate::modules::network::nomad::jobspec::Jobspec;
use crate::modules::network::nomad::judge::{Astray, Standing};
use crate::modules::network::nomad::look::{Allocation, Job, Look, glance, look};
use crate::modules::network::nomad::patience::{Patience, given_up};
use crate::modules::network::nomad::proven::{self, Question};
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

/// How long to tolerate an evaluation that waits for clients or resources while every client is ready: then nothing is in progress that a
/// slow machine could delay.
const STUCK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

fn run(task: &Task<'_>) -> Outcome {
    let file = task.args.path("file").unwrap_or_default();
    if task.check && (!file.exists() || !answers(task)) {
        // Earlier tasks of the same run would have provided both.
        return Ok(json!({"changed": true, "msg": "the job's file or Nomad does not exist yet"}).into());
    }
    let limit = Duration::from_secs(task.args.int("patience").unwrap_or(600).max(1) as u64);
    let mut work = Work { task, api: Api::new(task), patience: Patience::new(limit), did: Vec::new() };
    let outcome = work.run(&file);
    outcome.map_err(|fault| {
        let changed = !work.did.is_empty();
        Fault { msg: format!("{}: {}", file.display(), fault.msg), ..fault }.with("changed", changed)
    })
}

/// Whether Nomad answers at all.
fn answers(task: &Task<'_>) -> bool {
    Api::new(task).get::<Value>("/status/leader").is_ok()
}

struct Work<'a> {
    task: &'a Task<'a>,
    api: Api<'a>,
    patience: Patience,
    /// What was done, for the result.
    did: Vec<&'static str>,
}

impl Work<'_> {
    fn run(&mut self, file: &Path) -> Outcome {
        let text = String::from_utf8(std::fs::read(file).attempt("read", file)?).map_err(|_| Fault::from("it is not UTF-8"))?;
        let question =
            Question { address: self.task.args.str("address").into(), namespace: self.api.namespace.clone(), text: text.clone() };
        if let Some(result) = self.as_proven(&question) {
            return Ok(result.into());
        }
        let spec = Jobspec::read(self.task, &self.api, file, text, &mut self.patience)?;
        if let Some(namespace) = spec.namespace() {
            self.api.namespace = namespace.to_owned();
        }
        self.settle(&spec, question).map_err(|fault| Fault { msg: format!("job {}: {}", spec.id, fault.msg), ..fault })
    }

    /// The result if this file was compared with this job before, and the job runs as specified. Whatever else may be the case, including
    /// that Nomad does not answer, is for the long way.
    fn as_proven(&self, question: &Question) -> Option<Map<String, Value>> {
        let proven = proven::find(question)?;
        let mut api = Api::new(self.task);
        api.namespace.clone_from(&proven.namespace);
        let found = glance(&api, &proven.id).ok().filter(|found| proven.still_is(&found.job))?;
        let Standing::AsAsked(words) = found.standing() else { return None };
        // Only evaluations tell whether these are complete.
        if matches!(found.job.kind.as_str(), "system" | "sysbatch") {
            return None;
        }
        let mut result = Map::new();
        result.insert("name".into(), proven.id.clone().into());
        result.insert("changed".into(), false.into());
        self.task.put_diff(&mut result, || json!({"before": "", "after": ""}));
        Some(reported(result, &found, &proven.id, &words))
    }

    /// Remembers that the file is the same as the job that it was compared with, if that is this one.
    fn prove(&self, spec: &Jobspec, question: Question, compared: u64, job: &Job) {
        if spec.alone && job.job_modify_index == compared {
            proven::keep(question, &spec.id, &self.api.namespace, job);
        }
    }

    fn settle(&mut self, spec: &Jobspec, question: Question) -> Outcome {
        let path = format!("/job/{}", quote(&spec.id));
        let api = &self.api;
        let (diff, compared) = self.patience.must(api, "way to plan a job", || plan(api, spec))?;
        let differs = diff["Type"] != "None";
        let found = self.patience.insist(api, || look(api, &spec.id))?;
        if let (false, Some(found)) = (differs, &found) {
            self.prove(spec, question.clone(), compared, &found.job);
        }
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
        self.task.put_diff(&mut result, || json!({"before": why, "after": "", "prepared": diff.to_string()}));
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
        // So that the next run need not compare it.
        if let Ok((diff, compared)) = plan(&self.api, spec)
            && diff["Type"] == "None"
        {
            self.prove(spec, question, compared, &look.job);
        }
        result.insert("did".into(), self.did.clone().into());
        Ok(reported(result, &look, &spec.id, &words).into())
    }

    /// Missing instances are reported only if a second look confirms it: between two requests of the first look, Nomad may have started
    /// to replace them.
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
            // Nomad does not replace these unless the job is started from scratch.
            self.stop(path)?;
            self.register(spec.registration(), "restarted")?;
            return Ok(());
        }
        match astray {
            _ if differs => self.register(spec.registration(), "registered")?,
            Some(Astray::Stopped) => self.register(spec.registration(), "started")?,
            Some(Astray::Failed) => {
                // Nomad continues only with a new version. Running instances are left alone.
                self.register(spec.nearly(), "deployed again")?;
                self.register(spec.registration(), "deployed again")?;
            }
            Some(Astray::Missing) | None => {}
        }
        // Periodic and parameterized jobs have nothing to place.
        let placed = spec.job["Periodic"].is_null() && spec.job["ParameterizedJob"].is_null();
        if placed && (astray == Some(Astray::Missing) && !differs || !failed.is_empty()) {
            let body = json!({"JobID": spec.id, "EvalOptions": {"ForceReschedule": true}});
            let api = &self.api;
            self.patience.must(api, "such job", || api.post(&format!("{path}/evaluate"), &body))?;
            self.note("placed missing instances");
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

    /// Stops the job and waits until Nomad has done so.
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
                return Err(format!("{}: Nomad did not stop it; see `nomad job status`", self.patience.words()).into());
            }
            if api.given_up() {
                return Err(given_up());
            }
            self.patience.must(api, "such evaluation", || api.await_newer(&evaluation, seen.index))?;
        }
    }

    /// Waits until the job runs as specified; returns the final state and its description. Fails at once if Nomad reports a failure.
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

    /// Returns an error if there is no point in waiting any longer.
    fn go_on(&mut self, seen: &Look, words: &str, id: &str) -> Result<(), Fault> {
        if self.patience.is_over() {
            return Err(next_step(&reasons(seen, format!("{}: {words}", self.patience.words())), id));
        }
        let api = &self.api;
        if seen.is_stuck() && self.patience.quiet() >= STUCK && self.patience.must(api, "clients", || clients::all_ready(api))? {
            return Err(next_step(&reasons(seen, format!("Nomad cannot place it: {words}")), id));
        }
        if api.given_up() { Err(given_up()) } else { Ok(()) }
    }

    /// A different version replaced the one that was waited for: Nomad reverted to an older one, or someone else registered one.
    fn replaced(&mut self, id: &str, version: u64) -> Fault {
        let path = format!("/job/{}/deployments", quote(id));
        let all = self.api.get::<Value>(&path).map(|answer| answer.value).unwrap_or_default();
        let mine = all.as_array().into_iter().flatten().find(|one| one["JobVersion"] == version);
        match mine.and_then(|one| one["StatusDescription"].as_str()) {
            Some(why) if mine.is_some_and(|one| one["Status"] == "failed") => next_step(&format!("its deployment failed: {why}"), id),
            _ => "a different version of it was registered meanwhile; `labctl provision` compares it again".into(),
        }
    }
}

/// How the file differs from what Nomad has, and the modify index of that.
fn plan(api: &Api<'_>, spec: &Jobspec) -> Result<(Value, u64), No> {
    let body = json!({"Job": spec.job, "Diff": true});
    let mut plan = api.post(&format!("/job/{}/plan", quote(&spec.id)), &body)?;
    Ok((plan["Diff"].take(), plan["JobModifyIndex"].as_u64().unwrap_or_default()))
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

/// A failure, with what to do next.
fn next_step(why: &str, id: &str) -> Fault {
    format!("{why}. See `nomad job status {id}`; once the cause is fixed, labctl provision deploys it again").into()
}
