//! The arrows between the crates, as `labctl/docs/architecture.md` has them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which crates of ours each crate may depend on.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("labctl-spec", &[]),
    ("labctl-wire", &[]),
    ("labctl-agent", &["labctl-wire"]),
    ("labctl-machine", &["labctl-spec"]),
    ("labctl-image", &["labctl-spec"]),
    ("labctl-net", &["labctl-spec"]),
    ("labctl-guest", &["labctl-wire", "labctl-spec"]),
    ("labctl-provision", &["labctl-wire", "labctl-spec"]),
    ("labctl-chaos", &["labctl-spec"]),
    (
        "labctl-core",
        &["labctl-spec", "labctl-wire", "labctl-machine", "labctl-image", "labctl-net", "labctl-guest", "labctl-provision", "labctl-chaos"],
    ),
    ("labctl-web", &["labctl-core"]),
    ("labctl", &["labctl-core", "labctl-web"]),
];

#[test]
fn crates_depend_only_on_what_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(labctl_tests::repository())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(may) = allowed.get(name) else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && ours.contains(on) && !may.contains(&on) {
                wrong.push(format!("{name} -> {on}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(allowed.keys().filter(|name| !ours.contains(**name)).count(), 0, "a crate of the table is gone");
}
