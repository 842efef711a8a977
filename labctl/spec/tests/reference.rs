//! The reference documents mention every key of the schemas, and every example in them is valid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All keys and allowed words that a schema names.
fn words(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            if let Some(Value::String(word)) = map.get("const") {
                found.insert(word.clone());
            }
            map.values().for_each(|value| words(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, found)),
        _ => {}
    }
}

fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn mentions_everything(text: &str, schema: &Value) {
    let mut found = BTreeSet::new();
    words(schema, &mut found);
    assert!(found.len() > 5, "the schema has keys: {found:?}");
    let missing: Vec<_> = found.iter().filter(|word| !text.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "not mentioned: {missing:?}");
}

/// A folder with the files that the examples use.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("jobs")).expect("jobs");
    std::fs::write(folder.path().join("site.yml"), "[]\n").expect("a playbook");
    let file = folder.path().join("lab.yml");
    (folder, file)
}

#[test]
fn lab_file() {
    let text = document("lab-file.md");
    mentions_everything(&text, &labctl_spec::lab_schema());
    let (_folder, file) = folder();
    let blocks = blocks(&text, "yaml");
    assert!(blocks.len() >= 6);
    for block in blocks {
        if let Err(faults) = labctl_spec::parse_lab(&block, &file) {
            panic!("{faults}\n{block}");
        }
    }
}

/// The faults shown in the reference are exactly those of the file below.
#[test]
fn lab_file_faults() {
    let lab = "name: demo\nnodes:\n  - name: vm1\n    memory: 64M\n    cpu: 2\n  - name: vm1\n";
    let faults = labctl_spec::parse_lab(lab, Path::new("lab.yml")).expect_err("three faults");
    let shown = blocks(&document("lab-file.md"), "text").swap_remove(0);
    assert_eq!(faults.to_string(), shown.trim_end());
}

#[test]
fn scenario_file() {
    let text = document("scenario-file.md");
    mentions_everything(&text, &labctl_spec::scenario_schema());
    let lab = "name: demo\nnodes:\n- {name: root-server, groups: [servers]}\n- {name: lb-server}\n";
    let lab = labctl_spec::parse_lab(lab, Path::new("lab.yml")).expect("a lab");
    let blocks = blocks(&text, "yaml");
    assert!(blocks.len() >= 2);
    for block in blocks {
        if let Err(faults) = labctl_spec::parse_scenario(&block, Path::new("s.yml"), Some(&lab)) {
            panic!("{faults}\n{block}");
        }
    }
}

#[test]
fn image_file() {
    let text = document("image-file.md");
    mentions_everything(&text, &labctl_spec::image_schema());
    let blocks = blocks(&text, "yaml");
    assert_eq!(blocks.len(), 3, "one for each source");
    for block in blocks {
        if let Err(faults) = labctl_spec::parse_image(&block, Path::new("images/debian-12.yml")) {
            panic!("{faults}\n{block}");
        }
    }
}
