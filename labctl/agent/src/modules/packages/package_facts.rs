//! `package_facts`: installed packages.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{list, text};
use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};
use crate::modules::packages::dpkg;

pub(crate) const MODULE: Module = Module {
    names: &["package_facts"],
    params: &[list("manager").or("auto"), text("strategy").of(&["first", "all"]).or("first")],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let mut all: Map<String, Value> = Map::new();
    for package in dpkg::database(task.root).packages.iter().filter(|package| package.installed()) {
        let entry = json!({
            "name": package.name, "version": package.version, "arch": package.architecture,
            "category": package.section, "origin": "Debian", "source": "apt",
        });
        if let Value::Array(list) = all.entry(package.name.clone()).or_insert(json!([])) {
            list.push(entry);
        }
    }
    Ok(json!({"changed": false, "ansible_facts": {"packages": all}}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn installed_packages_are_listed() {
        let bench = Bench::new();
        bench.write("var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n");
        let facts = &bench.run("package_facts", json!({}))["ansible_facts"];
        assert_eq!(facts["packages"]["a"][0]["version"], "1");
    }
}
