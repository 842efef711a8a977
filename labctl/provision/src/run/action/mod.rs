//! Actions: what a task does. Most are modules of the agent; some work on the controller, fully or in part.

mod argument_spec;
mod artifact;
mod assemble;
mod assertion;
mod control;
mod copy;
mod debug;
mod facts;
mod fetch;
mod include;
mod include_vars;
mod inventory;
mod remote;
mod script;
mod set_fact;
pub(crate) mod supported;
mod synchronize;
mod template;
mod unarchive;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use labctl_wire::modules::{self, At, Module};

use crate::data::{Data, Dict};
use crate::playbook::Task;
use crate::python;
use crate::run::PlayRun;
use crate::target::{Connection, Target, TargetError};
use crate::template::Scope;
use crate::template::lookups::search_file;

/// A module call to be made for a host.
pub(crate) struct Action {
    pub play: Arc<PlayRun>,
    pub task: Arc<Task>,
    /// The host that the task is for.
    pub host: String,
    /// The machine that runs it.
    pub machine: Connection,
    pub scope: Arc<Scope>,
    /// Evaluated arguments; `omit`ted ones are absent.
    pub args: Dict,
    pub check: bool,
    pub diff: bool,
    pub become_user: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub timeout: Option<Duration>,
}

/// Why an action has no module result; it is converted to a result.
pub(crate) enum Stop {
    Failed(String),
    Unreachable(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl From<TargetError> for Stop {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Unreachable(message) => Self::Unreachable(message),
            TargetError::Failed(message) => Self::Failed(message),
        }
    }
}

pub(crate) type Done = Result<Dict, Stop>;

/// Whether an action evaluates its arguments itself, or leaves some of them unevaluated.
pub(crate) fn takes_templates(action: &str) -> bool {
    modules::find(action).is_some_and(|module| module.takes_templates)
}

/// A result with these entries.
pub(crate) fn result<const N: usize>(entries: [(&str, Data); N]) -> Dict {
    entries.into_iter().map(|(key, value)| (Arc::from(key), value)).collect()
}

impl Action {
    /// Runs it; every error becomes a result.
    pub(crate) async fn run(self) -> Dict {
        match self.dispatch().await {
            Ok(result) => result,
            Err(Stop::Failed(message)) => result([("failed", true.into()), ("changed", false.into()), ("msg", message.into())]),
            Err(Stop::Unreachable(message)) => result([("unreachable", true.into()), ("changed", false.into()), ("msg", message.into())]),
        }
    }

    async fn dispatch(&self) -> Done {
        match &*self.task.action {
            "debug" => self.debug(),
            "assert" => self.assertion(),
            "fail" => {
                let message = self.args.get("msg").cloned().unwrap_or(Data::str("Failed as requested from task"));
                Ok(result([("failed", true.into()), ("changed", false.into()), ("msg", message)]))
            }
            "set_fact" => self.set_fact(),
            "set_stats" => Ok(result([("changed", false.into()), ("ansible_stats", Data::map(self.args.clone()))])),
            "include_vars" => self.include_vars(),
            "include_tasks" | "include_role" => self.include(),
            "add_host" => self.add_host(),
            "group_by" => self.group_by(),
            "pause" => self.pause().await,
            "wait_for_connection" => self.wait_for_connection().await,
            "reboot" => self.reboot().await,
            "gather_facts" | "setup" => self.facts().await,
            "async_status" => self.async_status(),
            "validate_argument_spec" => self.validate_argument_spec(),
            "noop" => Ok(result([("changed", false.into())])),
            "template" => self.template().await,
            "copy" => self.copy().await,
            "artifact" => self.artifact().await,
            "fetch" => self.fetch().await,
            "script" => self.script().await,
            "unarchive" => self.unarchive().await,
            "assemble" => self.assemble().await,
            "synchronize" => self.synchronize().await,
            name => match modules::find(name) {
                Some(Module { at: At::Guest, checks: false, .. }) if self.check => {
                    let message = format!("remote module ({name}) does not support check mode");
                    Ok(result([("changed", false.into()), ("skipped", true.into()), ("msg", message.into())]))
                }
                Some(Module { at: At::Guest, .. }) => self.remote(name, self.args.clone()).await,
                // Expanded when the play was read: they never run on a host.
                Some(_) => Err(Stop::Failed(format!("'{name}' is not allowed here ({})", self.task.place))),
                None => Err(Stop::Failed(supported::lacking(name, &self.task.place).unwrap_or_default())),
            },
        }
    }

    /// An argument's text; none if it is absent or null.
    fn text(&self, name: &str) -> Option<String> {
        self.args.get(name).filter(|data| !matches!(data, Data::Null)).map(python::str_of)
    }

    /// An argument's truth value.
    fn flag(&self, name: &str, default: bool) -> Result<bool, Stop> {
        match self.args.get(name) {
            None | Some(Data::Null) => Ok(default),
            Some(data) => data.to_bool().ok_or_else(|| {
                Stop::Failed(format!(
                    "argument '{name}' is of type {} and we were unable to convert to bool: {}",
                    data.type_name(),
                    python::str_of(data)
                ))
            }),
        }
    }

    fn need(&self, name: &str) -> Result<String, Stop> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| Stop::Failed(format!("missing required arguments: {name}")))
    }

    /// The machine that runs the action.
    fn target(&self) -> Result<Arc<dyn Target>, Stop> {
        self.play.run.machine(&self.machine, &self.scope.controller()).ok_or_else(|| {
            Stop::Failed(match self.machine.local {
                true => "tasks can't run on the controller here: there is no agent for it".to_owned(),
                false => format!("there is no machine '{}' to run this task on", self.machine.host),
            })
        })
    }

    /// Finds a file on the controller, in Ansible's search order.
    fn local_file(&self, kind: &str, name: &str) -> Result<PathBuf, Stop> {
        search_file(&self.scope, kind, name).ok_or_else(|| {
            let folders: Vec<String> = self.scope.search.iter().map(|folder| folder.join(kind).display().to_string()).collect();
            Stop::Failed(format!("Could not find or access '{name}'; searched in {}", folders.join(", ")))
        })
    }
}
