//! Playbooks: plays, roles, blocks and tasks, read from YAML with their locations.

mod adopt;
pub(crate) mod args;
mod context;
pub(crate) mod keywords;
mod load;
mod names;
mod role;
mod task;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use context::Context;
pub(crate) use keywords::{Condition, Keywords};
pub(crate) use load::{Loader, read_variables, variable_files};
pub(crate) use role::{Role, RoleRequest};

use crate::data::{Data, Dict, Place};

/// The file being read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub path: PathBuf,
    pub file: Arc<str>,
}

/// A play.
#[derive(Debug)]
pub(crate) struct Play {
    pub name: Option<Data>,
    pub hosts: Data,
    pub place: Place,
    /// Folder of the playbook.
    pub folder: PathBuf,
    pub keywords: Keywords,
    pub vars: Arc<Dict>,
    pub vars_files: Vec<Data>,
    pub vars_prompt: Vec<Data>,
    pub gather_facts: Option<Data>,
    pub serial: Vec<Data>,
    pub strategy: Data,
    pub order: Option<Data>,
    pub max_fail_percentage: Option<Data>,
    pub force_handlers: Option<Data>,
    pub roles: Vec<Arc<Role>>,
    pub pre_tasks: Vec<Item>,
    pub role_tasks: Vec<Item>,
    pub tasks: Vec<Item>,
    pub post_tasks: Vec<Item>,
    pub handlers: Vec<Item>,
}

/// A step of a list of tasks.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Task(Arc<Task>),
    Block(Arc<Block>),
    /// The tasks of a role of the play, run once per host.
    Role(Arc<Role>, Arc<Vec<Item>>),
}

/// A block.
#[derive(Debug)]
pub(crate) struct Block {
    pub keywords: Keywords,
    pub block: Vec<Item>,
    pub rescue: Vec<Item>,
    pub always: Vec<Item>,
}

/// What a task loops over.
#[derive(Debug, Clone)]
pub(crate) enum Loop {
    /// `loop:`
    Items(Data),
    /// `with_NAME:`
    Lookup { name: String, terms: Data },
}

/// A task or handler.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub name: Option<Data>,
    /// Short name of the module.
    pub action: Arc<str>,
    /// The module's name as written: the name of a task without `name`.
    pub written: Arc<str>,
    /// Arguments as written.
    pub args: Data,
    pub keywords: Keywords,
    /// What included tasks inherit: the keywords of the enclosing blocks, without the task's own.
    pub outer: Arc<Keywords>,
    pub repeat: Option<Loop>,
    pub loop_control: Option<Data>,
    pub register: Option<Data>,
    pub changed_when: Option<Vec<Condition>>,
    pub failed_when: Option<Vec<Condition>>,
    pub until: Vec<Condition>,
    pub retries: Option<Data>,
    pub delay: Option<Data>,
    pub asynchronous: Option<Data>,
    pub listen: Vec<Data>,
    pub role: Option<Arc<Role>>,
    pub place: Place,
    /// Folder of the file that contains the task.
    pub folder: PathBuf,
    pub is_handler: bool,
}

impl Task {
    /// A task added by the engine itself.
    pub(crate) fn implicit(action: &str, name: &str, keywords: Keywords, place: Place) -> Self {
        Self {
            name: Some(Data::str(name)),
            action: Arc::from(action),
            written: Arc::from(action),
            args: Data::map(Dict::new()),
            outer: Arc::new(keywords.clone()),
            keywords,
            repeat: None,
            loop_control: None,
            register: None,
            changed_when: None,
            failed_when: None,
            until: Vec::new(),
            retries: None,
            delay: None,
            asynchronous: None,
            listen: Vec::new(),
            role: None,
            place,
            folder: PathBuf::new(),
            is_handler: false,
        }
    }

    /// One argument as written.
    pub(crate) fn arg(&self, name: &str) -> Option<&Data> {
        self.args.get(name)
    }
}
