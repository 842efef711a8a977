//! `setup`: facts of the system.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{int, list, path};
use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};
use crate::modules::text::glob_matches;

pub(crate) const MODULE: Module = Module {
    names: &["setup"],
    params: &[
        list("gather_subset").or("all"),
        int("gather_timeout").or("10"),
        list("filter"),
        path("fact_path").or("/etc/ansible/facts.d"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let filters = task.args.list("filter");
    let facts: Map<String, Value> = crate::modules::facts::gather_in(task.root)
        .into_iter()
        .map(|(key, value)| (format!("ansible_{key}"), value))
        .filter(|(key, _)| {
            let bare = key.trim_start_matches("ansible_");
            filters.is_empty() || filters.iter().any(|f| f.is_empty() || glob_matches(f, key) || glob_matches(f, bare))
        })
        .collect();
    Ok(json!({"changed": false, "ansible_facts": facts}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn facts_carry_the_prefix_and_obey_filters() {
        let bench = Bench::new();
        let facts = &bench.run("setup", json!({"filter": "ansible_host*"}))["ansible_facts"];
        assert!(facts["ansible_hostname"].is_string() && facts.get("ansible_kernel").is_none());
    }
}
