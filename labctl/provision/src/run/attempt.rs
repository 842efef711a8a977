//! One iteration of a task on one host: condition, arguments, module, retries.

use std::sync::Arc;
use std::time::Duration;

use crate::data::{Data, Dict};
use crate::playbook::Task;
use crate::python;
use crate::run::action::{self, Action};
use crate::template::{Scope, TemplateError};

use super::{PlayRun, connection, keyword};
use crate::lock::lock;

/// A result with the reason why a task failed.
pub(crate) fn failure(message: impl Into<String>) -> Dict {
    let mut out = Dict::new();
    out.insert("failed".into(), Data::Bool(true));
    out.insert("changed".into(), Data::Bool(false));
    out.insert("msg".into(), Data::from(message.into()));
    out
}

fn template_failure(what: &str, error: &TemplateError) -> Dict {
    let place = if error.place.file.is_empty() { String::new() } else { format!(" ({})", error.place) };
    failure(format!("{what}{}{place}", error.message))
}

/// The result of a task whose result conditions cannot be evaluated: marked as failed, with the reason added.
fn spoilt(mut result: Dict, keyword: &str, error: &TemplateError) -> Dict {
    result.insert("failed".into(), Data::Bool(true));
    result.insert(Arc::from(format!("{keyword}_result")), Data::from(error.message.clone()));
    result.insert("msg".into(), Data::from(format!("Error while evaluating {keyword}: {error}")));
    result
}

/// Whether a task has failed. `failed_when` decides, even if `until` never held: `failed` is then still true in the registered variable.
pub(crate) fn has_failed(result: &Dict) -> bool {
    let judged = |result: &Dict| result.contains_key("failed_when_result");
    if judged(result) {
        return is(result, "failed_when_result");
    }
    let items: Vec<_> =
        result.get("results").and_then(Data::as_list).into_iter().flat_map(|list| list.iter()).filter_map(Data::as_map).collect();
    if items.iter().any(|item| judged(item)) {
        return items.iter().any(|item| is(item, "failed_when_result"));
    }
    is(result, "failed")
}

/// Whether a flag of a result is set.
pub(crate) fn is(result: &Dict, name: &str) -> bool {
    result.get(name).is_some_and(|data| data.to_bool().unwrap_or_else(|| data.truthy()))
}

impl PlayRun {
    /// Runs the task once for a host, or for one item of its loop (with its variables in `top`).
    pub(super) async fn round(self: &Arc<Self>, task: &Arc<Task>, host: &str, top: &mut Dict, loop_error: Option<&TemplateError>) -> Dict {
        let scope = self.scope(host, Some(task), top.clone());
        match keyword::all_hold(&task.keywords.when, &scope) {
            Ok(Ok(())) => {}
            Ok(Err(condition)) => {
                let mut out = Dict::new();
                out.insert("changed".into(), Data::Bool(false));
                out.insert("false_condition".into(), condition);
                out.insert("skip_reason".into(), Data::str("Conditional result was False"));
                out.insert("skipped".into(), Data::Bool(true));
                return out;
            }
            Err(error) => {
                return match loop_error {
                    Some(error) => template_failure("", error),
                    None => template_failure("Error while evaluating conditional: ", &error),
                };
            }
        }
        if let Some(error) = loop_error {
            return template_failure("", error);
        }
        match self.tries(task, host, top, scope).await {
            Ok(result) => result,
            Err(error) => template_failure("", &error),
        }
    }

    async fn tries(self: &Arc<Self>, task: &Arc<Task>, host: &str, top: &mut Dict, scope: Arc<Scope>) -> Result<Dict, TemplateError> {
        let asked = keyword::number(task.retries.as_ref(), &scope, &task.place, "retries")?;
        let repeats = !task.until.is_empty() || asked.is_some();
        let most = match (repeats, asked) {
            (false, _) => 1,
            (true, None) => 4,
            (true, Some(count)) if count <= 0.0 => 1,
            (true, Some(count)) => count as u32 + 1,
        };
        let delay = keyword::number(task.delay.as_ref(), &scope, &task.place, "delay")?.unwrap_or(5.0).max(0.0);
        let mut scope = scope;
        for attempt in 1..=most {
            let mut result = self.once(task, host, &scope).await?;
            if is(&result, "unreachable") {
                return Ok(result);
            }
            if !result.contains_key("failed") {
                let code = result.get("rc").is_some_and(|code| !matches!(code, Data::Int(0)) && python::str_of(code) != "0");
                result.insert("failed".into(), Data::Bool(code));
            }
            if !result.contains_key("changed") {
                result.insert("changed".into(), Data::Bool(false));
            }
            if most > 1 {
                result.insert("attempts".into(), Data::Int(i64::from(attempt)));
            }
            if let Some(facts) = result.get("ansible_facts").and_then(Data::as_map) {
                // Make them visible to later loop items and to the conditions below.
                if matches!(&*task.action, "set_fact" | "include_vars") {
                    top.extend(facts.iter().map(|(key, value)| (key.clone(), value.clone())));
                    scope = self.scope(host, Some(task), top.clone());
                }
            }
            let registered = |result: &Dict| -> Arc<Scope> {
                let mut seen = Dict::new();
                if let Some(name) = task.register.as_ref().and_then(Data::as_str) {
                    seen.insert(Arc::from(name), Data::map(clean(result)));
                }
                scope.with(seen)
            };
            if let Some(conditions) = &task.changed_when {
                match keyword::all_hold(conditions, &registered(&result)) {
                    Ok(held) => {
                        result.insert("changed".into(), Data::Bool(held.is_ok()));
                    }
                    Err(error) => return Ok(spoilt(result, "changed_when", &error)),
                }
            }
            if let Some(conditions) = task.failed_when.as_ref().filter(|conditions| !conditions.is_empty()) {
                let failed = match keyword::all_hold(conditions, &registered(&result)) {
                    Ok(held) => held.is_ok(),
                    Err(error) => return Ok(spoilt(result, "failed_when", &error)),
                };
                result.insert("failed_when_result".into(), Data::Bool(failed));
                result.insert("failed".into(), Data::Bool(failed));
            }
            if most == 1 {
                return Ok(result);
            }
            let done =
                if task.until.is_empty() { !is(&result, "failed") } else { keyword::all_hold(&task.until, &registered(&result))?.is_ok() };
            if done || self.run.cancelled() {
                return Ok(result);
            }
            if attempt == most {
                result.insert("attempts".into(), Data::Int(i64::from(most - 1)));
                result.insert("failed".into(), Data::Bool(true));
                return Ok(result);
            }
            self.run.sleep(Duration::from_secs_f64(delay.min(86_400.0))).await;
        }
        Ok(failure("the task was never attempted"))
    }

    /// Evaluates arguments and runs the module.
    async fn once(self: &Arc<Self>, task: &Arc<Task>, host: &str, scope: &Arc<Scope>) -> Result<Dict, TemplateError> {
        let mut args = Dict::new();
        let lazy = action::takes_templates(&task.action);
        if let Some(map) = task.args.as_map() {
            // `args: "{{ variable }}"`: explicit arguments take precedence.
            if let Some(extra) = map.get("_variable_params")
                && let Data::Map(extra) = scope.resolve(extra)?
            {
                args.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            for (key, value) in map.iter().filter(|(key, _)| &***key != "_variable_params") {
                // `debug: "{{ dict }}"`; `debug` evaluates its other arguments itself.
                let whole = &*task.action == "debug" && &**key == "_raw_params";
                if lazy && !whole {
                    args.insert(key.clone(), value.clone());
                    continue;
                }
                match scope.resolve(value) {
                    Ok(Data::Omit) => {
                        args.shift_remove(key);
                    }
                    // `module: "{{ dict }}"` gives all arguments at once.
                    Ok(Data::Map(whole)) if &**key == "_raw_params" && !crate::playbook::args::takes_text(&task.action) => {
                        args.extend(whole.iter().map(|(key, value)| (key.clone(), value.clone())));
                    }
                    // Fact names may be templates; names of other arguments may not.
                    Ok(value) if &*task.action == "set_fact" && crate::data::is_template(key) => {
                        args.insert(Arc::from(python::str_of(&scope.resolve(&Data::text(key, &task.place))?)), value);
                    }
                    Ok(value) => {
                        args.insert(key.clone(), value);
                    }
                    Err(error) => {
                        let what =
                            if &**key == "_raw_params" { String::new() } else { format!("Error while resolving value for '{key}': ") };
                        return Ok(template_failure(&what, &error));
                    }
                }
            }
        }
        let check = match task.keywords.get("check_mode") {
            Some(data) => keyword::truth(&scope.resolve(data)?),
            None => self.run.options.check,
        };
        let diff = match task.keywords.get("diff") {
            Some(data) => keyword::truth(&scope.resolve(data)?),
            None => self.run.options.diff,
        };
        let timeout = keyword::number(task.keywords.get("timeout"), scope, &task.place, "timeout")?.filter(|seconds| *seconds > 0.0);
        let asynchronous = keyword::number(task.asynchronous.as_ref(), scope, &task.place, "async")?.filter(|seconds| *seconds > 0.0);
        let delegate = keyword::text(task.keywords.get("delegate_to"), scope)?;
        let machine = match &delegate {
            Some(other) => connection::of(task, other, &self.scope(other, None, Dict::new()), scope)?,
            None => connection::of(task, host, scope, scope)?,
        };
        let action = Action {
            play: self.clone(),
            task: task.clone(),
            host: host.to_owned(),
            machine,
            scope: scope.clone(),
            args,
            check,
            diff,
            become_user: keyword::become_user(task, scope)?,
            environment: keyword::environment(task, scope)?,
            timeout: timeout.or(asynchronous).map(Duration::from_secs_f64),
        };
        let running = action.run();
        let mut result = match timeout {
            Some(seconds) => match tokio::time::timeout(Duration::from_secs_f64(seconds), running).await {
                Ok(result) => result,
                Err(_) => failure(format!("Timed out after {seconds} second(s).")),
            },
            None => running.await,
        };
        if asynchronous.is_some() {
            // It has finished: polling or asking for its status reports it as finished.
            result.insert("started".into(), Data::Bool(true));
            result.insert("finished".into(), Data::Bool(true));
            result.insert("results_file".into(), Data::str(""));
            self.remember_job(&mut result);
        }
        if let Some(delegate) = delegate {
            let mut info = Dict::new();
            info.insert("ansible_delegated_host".into(), Data::from(delegate));
            result.insert("_ansible_delegated_vars".into(), Data::map(info));
        }
        Ok(result)
    }

    fn remember_job(&self, result: &mut Dict) {
        let mut jobs = lock(&self.jobs);
        // Sequential, not random, so that two runs of a play are identical.
        let id = format!("j{}", jobs.len() + 1);
        result.insert("ansible_job_id".into(), Data::str(&id));
        jobs.insert(id, clean(result));
    }
}

/// A result as shown in variables and events: without what is meant only for the engine.
pub(crate) fn clean(result: &Dict) -> Dict {
    result
        .iter()
        .filter(|(key, _)| !key.starts_with("_ansible_") && &***key != "invocation")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
