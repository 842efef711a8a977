//! `set_fact`

use super::{Action, Done, Stop, result};
use crate::data::{Data, Dict};

impl Action {
    pub(super) fn set_fact(&self) -> Done {
        let mut facts = Dict::new();
        let cacheable = self.flag("cacheable", false)?;
        for (name, value) in self.args.iter().filter(|(name, _)| &***name != "cacheable") {
            let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !good {
                return Err(Stop::Failed(format!(
                    "The variable name '{name}' is not valid. Variables must start with a letter or underscore character, and contain only letters, numbers and underscores."
                )));
            }
            facts.insert(name.clone(), value.clone());
        }
        if facts.is_empty() {
            return Err(Stop::Failed("No key/value pairs provided, at least one is required for this action to succeed".to_owned()));
        }
        Ok(result([("changed", false.into()), ("ansible_facts", Data::map(facts)), ("_ansible_facts_cacheable", cacheable.into())]))
    }
}
