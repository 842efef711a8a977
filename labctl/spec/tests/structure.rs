//! Unknown keys are rejected at every level, and any text, however broken, gives at worst faults.

use std::path::Path;

use labctl_spec::{artifact_schema, image_schema, lab_schema, scenario_schema};
use serde_json::Value;

/// Every object of a schema either lists its keys and rejects others, or is a mapping with arbitrary keys.
fn closed(schema: &Value, path: &str, seen: &mut usize) {
    if let Value::Object(map) = schema {
        if map.contains_key("properties") {
            *seen += 1;
            let additional = map.get("additionalProperties").or_else(|| map.get("unevaluatedProperties"));
            assert_eq!(additional, Some(&Value::Bool(false)), "{path} takes unknown keys");
        } else if map.get("type").and_then(Value::as_str) == Some("object") {
            assert!(map.contains_key("additionalProperties"), "{path} says nothing about its keys");
        }
    }
    match schema {
        Value::Object(map) => map.iter().for_each(|(key, value)| closed(value, &format!("{path}/{key}"), seen)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| closed(value, &format!("{path}/{index}"), seen));
        }
        _ => {}
    }
}

#[test]
fn every_level_refuses_unknown_keys() {
    for (name, schema, least) in
        [("lab", lab_schema(), 5), ("image", image_schema(), 3), ("scenario", scenario_schema(), 8), ("artifact", artifact_schema(), 6)]
    {
        let mut seen = 0;
        closed(&schema, name, &mut seen);
        assert!(seen >= least, "{name}: only {seen} objects");
    }
}

const LAB: &str = "name: demo
network: {subnet: 10.77.0.0/24, internet: yes}
variables: &v {a: 1}
groups: {servers: {variables: *v}}
nodes:
- name: root
  count: 2
  address: 10.77.0.20
  memory: 512M
  hostnames: ['r{index}.demo']
  groups: [servers]
  publish: [8500, \"8080:80\"]
  sync: [{from: ., to: /x}]
- {name: b, cpus: 2}
- name: c
  variables:
    <<: *v
    b: |
      text
provision:
- hosts: all
  tasks: [{name: t, debug: {msg: \"{{ a }}\"}}]
";

const SCENARIO: &str = "name: kill
steady_state:
- name: leader
  consul: {node: root, members: 5, services: {nomad: 1}}
- name: answers
  http: {node: lb, port: 80, path: \"/fib?n=20\", contains: fib}
method:
- kill: {units: [consul.service], on: [servers], pick: one}
- wait: 5s
recover_within: 120s
";

const IMAGE: &str = "description: x\nbootstrap:\n  suite: bookworm\n  packages: [curl, jq]\n  size: 3G\n";

const ARTIFACTS: &str = "- name: consul
  version: 1.12.9
  sources:
  - directory: {}
  - go_module: {module: github.com/hashicorp/consul, module_version: v1.12.9, replace: {a: b v1}, tags: [ui], go: '1.20'}
  - cargo: {path: ../fib}
";

/// An unknown key inserted into each mapping in turn is reported at its own line.
#[test]
fn an_unknown_key_is_found_wherever_it_is_put() {
    let free = ["a: 1", "servers: {", "hosts: all", "text", "}}", "<<:", "b: |"];
    for (number, line) in LAB.lines().enumerate() {
        let key = line.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        if free.iter().any(|part| line.contains(part)) || line.contains("provision") || line.contains("tasks") {
            continue;
        }
        if line.trim_start_matches([' ', '-']).starts_with('{') {
            continue;
        }
        let indentation = " ".repeat(key);
        let mut lines: Vec<String> = LAB.lines().map(str::to_owned).collect();
        let item = line.starts_with('-');
        let at = if item { number + 1 } else { number };
        lines.insert(at, format!("{indentation}zzz: 1"));
        let faults = labctl_spec::parse_lab(&lines.join("\n"), Path::new("lab.yml")).expect_err(line);
        let found = faults.0.iter().any(|fault| fault.line == at + 1 && fault.field.ends_with("zzz"));
        assert!(found, "{line}: {faults}");
    }
}

/// A small pseudo-random number generator (xorshift64*), so that failures are reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}

const PIECES: [&str; 36] = [
    ":",
    ": ",
    "- ",
    "\n",
    "  ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "*v",
    "<<: *v",
    "!!int ",
    "!x ",
    "|",
    ">",
    "'",
    "\"",
    "#",
    "---\n",
    "null",
    "true",
    "-1",
    "99999999999999999999",
    "1:30",
    ".inf",
    "é",
    "\u{0}",
    "\u{feff}",
    "name",
    "x: 1\n",
    "{index}",
    "%",
    "@",
];

fn mutated(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len());
        match random.below(5) {
            0 => drop(chars.splice(at..(at + 1 + random.below(8)).min(chars.len()), [])),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            2 => {
                let part: Vec<char> = chars[at..(at + random.below(30)).min(chars.len())].to_vec();
                let to = random.below(chars.len());
                drop(chars.splice(to..to, part));
            }
            3 => chars.truncate(at),
            _ => {
                let with = PIECES[random.below(PIECES.len())].chars();
                drop(chars.splice(at..(at + 1).min(chars.len()), with));
            }
        }
        if chars.is_empty() {
            break;
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutations_give_a_value_or_faults_with_lines() {
    let lab = labctl_spec::parse_lab(LAB, Path::new("lab.yml")).expect("the lab is good");
    labctl_spec::parse_scenario(SCENARIO, Path::new("s.yml"), None).expect("the scenario is good");
    labctl_spec::parse_image(IMAGE, Path::new("i.yml")).expect("the image is good");
    labctl_spec::parse_artifacts(ARTIFACTS, Path::new("a.yml")).expect("the artifacts are good");
    let mut random = Random(0x1ab);
    let (mut good, mut bad) = (0, 0);
    for round in 0..8000 {
        let (text, result) = match round % 4 {
            0 | 1 => {
                let text = mutated(LAB, &mut random);
                let result = labctl_spec::parse_lab(&text, Path::new("lab.yml")).map(drop);
                (text, result)
            }
            2 => {
                let text = mutated(SCENARIO, &mut random);
                let result = labctl_spec::parse_scenario(&text, Path::new("s.yml"), Some(&lab)).map(drop);
                (text, result)
            }
            _ => {
                let (base, image) = if random.below(2) == 0 { (IMAGE, true) } else { (ARTIFACTS, false) };
                let text = mutated(base, &mut random);
                let result = if image {
                    labctl_spec::parse_image(&text, Path::new("i.yml")).map(drop)
                } else {
                    labctl_spec::parse_artifacts(&text, Path::new("a.yml")).map(drop)
                };
                (text, result)
            }
        };
        match result {
            Ok(()) => good += 1,
            Err(faults) => {
                bad += 1;
                assert!(!faults.0.is_empty(), "no fault in\n{text}");
                let lines = text.split('\n').count() + 1;
                for fault in &faults.0 {
                    assert!((1..=lines).contains(&fault.line), "{fault} in\n{text}");
                    assert!(!fault.reason.is_empty(), "{fault:?} in\n{text}");
                }
                assert!(faults.0.is_sorted_by_key(|fault| (fault.line, fault.column)), "{faults}");
                let unexplained = faults.0.iter().any(|fault| fault.reason == "the file could not be understood");
                assert!(!unexplained, "{faults} in\n{text}");
            }
        }
    }
    assert!(good > 100 && bad > 1000, "{good} good and {bad} bad are no test");
}
