//! The dependencies between the crates, as `labctl/docs/architecture.md` shows them, and knowledge that only one of them may have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each crate may depend on.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("labctl-spec", &[]),
    ("labctl-wire", &[]),
    ("labctl-tree", &["labctl-wire"]),
    ("labctl-agent", &["labctl-tree", "labctl-wire"]),
    ("labctl-machine", &["labctl-spec"]),
    ("labctl-image", &["labctl-spec"]),
    ("labctl-net", &["labctl-spec"]),
    ("labctl-guest", &["labctl-tree", "labctl-wire", "labctl-spec"]),
    ("labctl-provision", &["labctl-wire", "labctl-spec"]),
    ("labctl-chaos", &["labctl-wire", "labctl-spec"]),
    ("labctl-lab", &["labctl-spec", "labctl-wire", "labctl-machine", "labctl-image", "labctl-guest", "labctl-chaos"]),
    ("labctl-template", &["labctl-lab", "labctl-wire", "labctl-machine", "labctl-image", "labctl-guest"]),
    (
        "labctl-supervisor",
        &[
            "labctl-lab",
            "labctl-template",
            "labctl-spec",
            "labctl-wire",
            "labctl-machine",
            "labctl-image",
            "labctl-net",
            "labctl-guest",
            "labctl-chaos",
        ],
    ),
    (
        "labctl-core",
        &[
            "labctl-lab",
            "labctl-template",
            "labctl-tree",
            "labctl-spec",
            "labctl-wire",
            "labctl-machine",
            "labctl-image",
            "labctl-net",
            "labctl-guest",
            "labctl-provision",
            "labctl-chaos",
        ],
    ),
    ("labctl-web", &["labctl-core", "labctl-lab", "labctl-spec"]),
    ("labctl", &["labctl-core", "labctl-lab", "labctl-supervisor", "labctl-web", "labctl-spec"]),
];

/// All of cargo's packages in the workspace, with those of their ordinary dependencies that are ours.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(labctl_tests::repository())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |package: &serde_json::Value| package["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let dependencies = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|on| on["kind"].is_null()).map(name).filter(|on| ours.contains(on)).collect()
    };
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, may) in ALLOWED {
        let on = packages.get(name).unwrap_or_else(|| panic!("{name} of the table is gone"));
        wrong.extend(on.iter().filter(|on| !may.contains(&on.as_str())).map(|on| format!("{name} -> {on}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<&String> = packages.keys().filter(|name| name.starts_with("labctl") && !known.contains(name.as_str())).collect();
    assert_eq!(unknown, ["labctl-skip", "labctl-tests"], "a crate is not in the table");
}

/// A supervisor of another build is replaced, and its name identifies the build: so all of its code must count.
#[test]
fn a_supervisors_name_covers_all_that_it_is_made_of() {
    let packages = packages();
    // The agent is not one of its dependencies, but is embedded in it.
    let mut closure = BTreeSet::from(["labctl-supervisor".to_owned(), "labctl-agent".to_owned()]);
    loop {
        let more: BTreeSet<String> = closure.iter().flat_map(|name| packages[name].clone()).collect();
        let before = closure.len();
        closure.extend(more);
        if closure.len() == before {
            break;
        }
    }
    let named: BTreeSet<String> = labctl_lab::home::SUPERVISOR_CRATES.split(' ').map(|name| format!("labctl-{name}")).collect();
    assert_eq!(named, closure);
}

/// The modules directly below a crate's root, and which others each of them uses.
fn modules(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(source, &mut files);
    let top = |file: &Path| {
        let first = file.strip_prefix(source).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let names: BTreeSet<String> = files.iter().map(|file| top(file)).filter(|name| name != "lib" && name != "main").collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        // Tests may use everything.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let own = top(file);
        let Some(uses) = uses.get_mut(&own).filter(|_| !file.to_string_lossy().contains("test")) else { continue };
        for after in text.split("crate::").skip(1) {
            let list = match after.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
                None => vec![after],
            };
            for item in list {
                let end = item.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(item.len());
                let used = &item[..end];
                if used != own && names.contains(used) {
                    uses.insert(used.to_owned());
                }
            }
        }
    }
    uses
}

/// A path from `at` to `goal`, over modules that were not `seen` before.
fn way(uses: &BTreeMap<String, BTreeSet<String>>, at: &str, goal: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if uses[at].contains(goal) {
        return Some(vec![at.to_owned()]);
    }
    let next = uses[at].iter().filter(|next| seen.insert((*next).clone())).cloned().collect::<Vec<_>>();
    let rest = next.iter().find_map(|next| way(uses, next, goal, seen))?;
    Some([vec![at.to_owned()], rest].concat())
}

#[test]
fn no_modules_of_a_crate_use_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    let crates = std::fs::read_dir(labctl_tests::repository().join("labctl")).unwrap().flatten();
    for folder in crates.map(|entry| entry.path()).filter(|path| path.join("Cargo.toml").exists()) {
        let uses = modules(&folder.join("src"));
        for name in uses.keys() {
            // Each circle is reported once, by its first module.
            if let Some(way) = way(&uses, name, name, &mut BTreeSet::new()).filter(|way| way.iter().min() == Some(name)) {
                wrong.push(format!("{}: {}", folder.file_name().unwrap().display(), way.join(" -> ")));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Code that was once duplicated, by a telltale string, with the one file that may contain it; none where a library does.
const ONCE: [(&str, Option<&str>); 6] = [
    ("./0123456789ABCDEFGHIJ", Some("labctl/wire/src/crypt.rs")),
    ("xyz0123456789+/", None),
    ("070701", Some("labctl/image/src/cpio.rs")),
    ("FlockOperation", None),
    ("invalid group reference", Some("labctl/wire/src/python_regex.rs")),
    // What skips a test says so by `skip!`.
    ("println!(\"skipped: ", None),
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
