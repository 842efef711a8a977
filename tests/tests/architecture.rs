//! The arrows between the crates, as `labctl/docs/architecture.md` has them, and what only one of them may know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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

/// What was written more than once in its time, by what gives it away, and the one file that has it; none where a library does.
const ONCE: [(&str, Option<&str>); 5] = [
    ("./0123456789ABCDEFGHIJ", Some("labctl/wire/src/crypt.rs")),
    ("xyz0123456789+/", None),
    ("070701", Some("labctl/image/src/cpio.rs")),
    ("FlockOperation", None),
    ("invalid group reference", Some("labctl/wire/src/python_regex.rs")),
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn what_one_file_knows_no_other_writes_again() {
    let root = labctl_tests::repository();
    let mut files = Vec::new();
    sources(&root.join("labctl"), &mut files);
    assert!(files.len() > 300);
    for (sign, place) in ONCE {
        let found: Vec<String> = files
            .iter()
            .filter(|file| std::fs::read_to_string(file).unwrap().contains(sign))
            .map(|file| file.strip_prefix(&root).unwrap().display().to_string())
            .collect();
        assert_eq!(found, Vec::from_iter(place), "{sign}");
    }
}
