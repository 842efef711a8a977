//! `getent`: entries of the system's databases.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{on, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["getent"],
    params: &[text("database").must(), text("key"), text("service"), text("split"), on("fail_key")],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let database = args.str("database");
    let (file, colons) = match database {
        "passwd" | "group" | "shadow" | "gshadow" => (format!("/etc/{database}"), true),
        "hosts" | "services" | "protocols" | "networks" | "rpc" | "ethers" => (format!("/etc/{database}"), false),
        "ahosts" | "ahostsv4" | "ahostsv6" => ("/etc/hosts".to_owned(), false),
        _ => {
            return Err(Fault::from("Missing arguments, or database unknown.").with("database", database));
        }
    };
    if args.text("service").is_some_and(|service| service != "files") {
        return Err(Fault::from("only the service 'files' is supported").with("database", database));
    }
    let text = std::fs::read_to_string(task.root.join(&file)).unwrap_or_default();
    let split = args.text("split").unwrap_or(if colons { ":" } else { "" });
    let key = args.filled("key");
    let mut found = Map::new();
    for line in text.lines() {
        let line = if colons { line } else { line.split('#').next().unwrap_or_default() };
        if line.trim().is_empty() {
            continue;
        }
        let fields: Vec<&str> = if split.is_empty() { line.split_whitespace().collect() } else { line.split(split).collect() };
        let fits = match (key, database) {
            (None, _) => true,
            (Some(key), "passwd" | "group") => fields[0] == key || fields.get(2) == Some(&key),
            (Some(key), "hosts" | "ahosts" | "ahostsv4" | "ahostsv6" | "services") => fields.contains(&key),
            (Some(key), _) => fields[0] == key,
        };
        if fits {
            let rest: Vec<Value> = fields[1..].iter().map(|field| (*field).into()).collect();
            found.entry(fields[0].to_owned()).or_insert(rest.into());
        }
    }
    if let Some(key) = key.filter(|_| found.is_empty()) {
        if args.flag("fail_key") {
            return Err("One or more supplied key could not be found in the database.".into());
        }
        found.insert(key.to_owned(), Value::Null);
    }
    let name = format!("getent_{database}");
    Ok(json!({"changed": false, "ansible_facts": {name: found}}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn databases_and_files() {
        let bench = Bench::new();
        let facts = bench.run("getent", json!({"database": "passwd", "key": "app"}))["ansible_facts"].clone();
        assert_eq!(facts["getent_passwd"]["app"][1], "1000");
        assert!(bench.fault("getent", json!({"database": "group", "key": "nope"})).starts_with("One or more"));
        let soft = bench.run("getent", json!({"database": "group", "key": "nope", "fail_key": false}));
        assert_eq!(soft["ansible_facts"]["getent_group"]["nope"], Value::Null);
        bench.write("f", b"\xff\x00");
        assert_eq!(bench.run("slurp", json!({"src": bench.text_path("f")}))["content"], "/wA=");
        assert!(bench.fault("slurp", json!({"src": "/no/such"})).starts_with("file not found"));
    }
}
