//! What a list of tasks inherits while it is read.

use std::sync::Arc;

use labctl_spec::yaml::Node;

use super::{Keywords, Role, Source};

/// What a list of tasks inherits from its surroundings.
#[derive(Clone)]
pub(crate) struct Context {
    pub keywords: Keywords,
    pub role: Option<Arc<Role>>,
    pub handlers: bool,
    /// Whether it is read while the play runs.
    pub dynamic: bool,
    depth: usize,
}

impl Context {
    pub(crate) fn new(keywords: Keywords) -> Self {
        Self { keywords, role: None, handlers: false, dynamic: false, depth: 0 }
    }

    pub(crate) fn with(&self, node: &Node, source: &Source) -> Self {
        let mut inner = self.clone();
        inner.keywords.extend(node, source);
        inner
    }

    /// Adds the keywords of a role's entry; its `vars` belong to the role, not to its tasks.
    pub(crate) fn with_role_entry(&self, node: &Node, source: &Source) -> Self {
        let mut inner = self.with(node, source);
        inner.keywords.vars.truncate(self.keywords.vars.len());
        inner
    }

    pub(crate) fn of_role(&self, role: Arc<Role>) -> Self {
        Self { role: Some(role), depth: self.depth + 1, ..self.clone() }
    }

    /// The context inside an import: its variables are parameters of the imported tasks.
    pub(crate) fn imported(&self, task: &super::Task) -> Self {
        let mut inner = Self { depth: self.depth + 1, ..self.clone() };
        let own = &task.keywords.vars[task.outer.vars.len().min(task.keywords.vars.len())..];
        inner.keywords.include_vars.extend(own.iter().cloned());
        inner
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }
}
