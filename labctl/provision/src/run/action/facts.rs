//! `setup`, and the facts that a play gathers at its start.

use std::sync::Arc;

use super::{Action, Done, result};
use crate::data::{Data, Dict, dict_from_json};
use crate::host_pattern::glob;
use crate::lock::lock;
use crate::python;

impl Action {
    /// Facts are read once per run; an explicit `setup` reads them again.
    pub(super) async fn facts(&self) -> Done {
        let explicit = &*self.task.action == "setup";
        let known = lock(&self.play.run.hosts).get(&self.host).filter(|state| state.gathered).map(|state| state.facts.clone());
        let facts = match known.filter(|_| !explicit && self.machine.host == self.host) {
            Some(facts) => (*facts).clone(),
            None => {
                let mut facts = dict_from_json(&self.target()?.facts().await?);
                facts.insert("gather_subset".into(), Data::list(vec![Data::str("all")]));
                facts.insert("module_setup".into(), Data::Bool(true));
                if self.machine.host == self.host {
                    lock(&self.play.run.hosts).entry(self.host.clone()).or_default().gathered = true;
                }
                facts
            }
        };
        let filters: Vec<String> = match self.args.get("filter") {
            Some(Data::List(list)) => list.iter().map(python::str_of).collect(),
            Some(Data::Null) | None => Vec::new(),
            Some(other) => python::str_of(other).split(',').map(|filter| filter.trim().to_owned()).collect(),
        };
        let shown: Dict = facts
            .into_iter()
            .map(|(key, value)| (if key.starts_with("ansible_") { key } else { Arc::from(format!("ansible_{key}")) }, value))
            .filter(|(key, _)| {
                let short = key.strip_prefix("ansible_").unwrap_or(key);
                filters.is_empty() || filters.iter().any(|filter| filter == "*" || glob(filter, key) || glob(filter, short))
            })
            .collect();
        Ok(result([("changed", false.into()), ("ansible_facts", Data::map(shown))]))
    }
}
