//! Inventory files: INI and YAML.

use std::path::Path;
use std::sync::Arc;

use labctl_spec::mistake::Mistake;
use labctl_spec::yaml::Node;

use super::{Host, Inventory};
use crate::data::{Data, Dict, Place};
use crate::yaml;

pub(super) fn fault(path: &Path, line: usize, reason: impl Into<String>, hint: Option<&str>) -> Mistake {
    Mistake { file: path.to_path_buf(), line, column: 0, field: String::new(), reason: reason.into(), hint: hint.map(str::to_owned) }
}

pub(super) fn read(path: &Path) -> Result<Inventory, Mistake> {
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let text = std::fs::read_to_string(path).map_err(|error| fault(path, 0, format!("cannot read the inventory: {error}"), None))?;
    let mut inventory = Inventory { file: Some(path.to_path_buf()), ..Inventory::default() };
    inventory.folders.extend(path.parent().map(Path::to_path_buf));
    inventory.group("all");
    inventory.group("ungrouped");
    if text.starts_with("#!") {
        let hint = "save its output: ansible-inventory -i PROGRAM --list --yaml > hosts.yml";
        return Err(fault(path, 1, "inventory scripts are not run", Some(hint)));
    }
    let yaml_like = matches!(path.extension().and_then(|extension| extension.to_str()), Some("yml" | "yaml" | "json"));
    if yaml_like {
        for document in yaml::documents(&text, path)? {
            let Some(map) = document.as_map() else {
                return Err(fault(path, document.span.line, "an inventory must be a mapping of groups", None));
            };
            // A mapping with the keys of a group is the group of all hosts.
            if map.entries.iter().any(|entry| entry.key.as_text() == Some("hosts")) {
                group(&mut inventory, "all", &document, path)?;
                continue;
            }
            for entry in &map.entries {
                group(&mut inventory, entry.key.as_text().unwrap_or_default(), &entry.value, path)?;
            }
        }
    } else {
        ini(&mut inventory, &text, path)?;
    }
    // Hosts in no group are in `ungrouped`.
    let grouped: Vec<String> = inventory
        .groups
        .iter()
        .filter(|(name, _)| *name != "all" && *name != "ungrouped")
        .flat_map(|(_, group)| group.hosts.clone())
        .collect();
    let alone: Vec<String> = inventory.hosts.keys().filter(|host| !grouped.contains(host)).cloned().collect();
    inventory.group("ungrouped").hosts = alone;
    Ok(inventory)
}

fn group(inventory: &mut Inventory, name: &str, node: &Node, path: &Path) -> Result<(), Mistake> {
    let file: Arc<str> = Arc::from(path.display().to_string());
    inventory.group(name);
    if node.is_null() {
        return Ok(());
    }
    let map = node.as_map().ok_or_else(|| fault(path, node.span.line, format!("the group '{name}' must be a mapping"), None))?;
    for entry in &map.entries {
        match entry.key.as_text().unwrap_or_default() {
            "vars" => {
                if let Data::Map(vars) = yaml::data(&entry.value, &file, true) {
                    inventory.group(name).vars.extend((*vars).clone());
                }
            }
            "hosts" => {
                for item in entry.value.as_seq().into_iter().flatten().filter_map(|item| item.as_text()) {
                    for host_name in expand(item) {
                        inventory.hosts.entry(host_name.clone()).or_default();
                        inventory.group(name).hosts.push(host_name);
                    }
                }
                for host in entry.value.as_map().into_iter().flat_map(|map| &map.entries) {
                    for host_name in expand(host.key.as_text().unwrap_or_default()) {
                        if let Data::Map(vars) = yaml::data(&host.value, &file, true) {
                            inventory.hosts.entry(host_name.clone()).or_default().vars.extend((*vars).clone());
                        }
                        inventory.hosts.entry(host_name.clone()).or_default();
                        let hosts = &mut inventory.group(name).hosts;
                        if !hosts.contains(&host_name) {
                            hosts.push(host_name);
                        }
                    }
                }
            }
            "children" => {
                for child in entry.value.as_map().into_iter().flat_map(|map| &map.entries) {
                    let child_name = child.key.as_text().unwrap_or_default().to_owned();
                    group(inventory, &child_name, &child.value, path)?;
                    inventory.group(name).children.push(child_name);
                }
            }
            other => {
                let hint = Some("a group has hosts, vars and children");
                return Err(fault(path, entry.key.span.line, format!("unknown key '{other}' in the group '{name}'"), hint));
            }
        }
    }
    Ok(())
}

/// `web[1:3].lab`, `db[a:c]`, `n[01:10:2]`
pub(super) fn expand(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('[') else {
        return vec![name.to_owned()];
    };
    let Some((range, after)) = rest.split_once(']') else {
        return vec![name.to_owned()];
    };
    let parts: Vec<&str> = range.split(':').collect();
    let (Some(first), Some(last)) = (parts.first(), parts.get(1)) else {
        return vec![name.to_owned()];
    };
    let step: usize = parts.get(2).and_then(|step| step.parse().ok()).filter(|step| *step > 0).unwrap_or(1);
    let middle: Vec<String> = match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(low), Ok(high)) => (low..=high.min(low.saturating_add(100_000)))
            .step_by(step)
            .map(|number| format!("{number:0width$}", width = if first.starts_with('0') { first.len() } else { 0 }))
            .collect(),
        _ => match (first.chars().next(), last.chars().next()) {
            (Some(low), Some(high)) if first.len() == 1 && last.len() == 1 => (low..=high).step_by(step).map(String::from).collect(),
            _ => return vec![name.to_owned()],
        },
    };
    middle.into_iter().flat_map(|part| expand(&format!("{before}{part}{after}"))).collect()
}

/// A value in an INI inventory: Python literals keep their type on host lines and in `:vars`.
fn literal(text: &str, place: &Place) -> Data {
    let text = text.trim();
    let quoted = text.len() > 1 && (text.starts_with('"') && text.ends_with('"') || text.starts_with('\'') && text.ends_with('\''));
    if quoted {
        return Data::text(&text[1..text.len() - 1], place);
    }
    match text {
        "True" => return Data::Bool(true),
        "False" => return Data::Bool(false),
        "None" => return Data::Null,
        _ => {}
    }
    if text.starts_with(['[', '{'])
        && !text.starts_with("{{")
        && let Ok(data) = yaml::parse_untrusted(&text.replace("True", "true").replace("False", "false").replace("None", "null"))
    {
        return data;
    }
    let numeric =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !(text.len() > 1 && text.starts_with('0') && !text.starts_with("0."));
    if numeric {
        if let Ok(number) = text.parse::<i64>() {
            return Data::Int(number);
        }
        if let Ok(number) = text.parse::<f64>() {
            return Data::Float(number);
        }
    }
    Data::text(text, place)
}

fn ini(inventory: &mut Inventory, text: &str, path: &Path) -> Result<(), Mistake> {
    let file: Arc<str> = Arc::from(path.display().to_string());
    let mut section = "ungrouped".to_owned();
    let mut kind = "hosts".to_owned();
    for (index, raw) in text.lines().enumerate() {
        let place = Place { file: file.clone(), line: index + 1 };
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let (name, suffix) = header.split_once(':').unwrap_or((header, "hosts"));
            if !matches!(suffix, "hosts" | "vars" | "children") {
                return Err(fault(
                    path,
                    index + 1,
                    format!("Section [{header}] has unknown type: {suffix}"),
                    Some("use :vars or :children"),
                ));
            }
            section = name.to_owned();
            kind = suffix.to_owned();
            inventory.group(name);
            continue;
        }
        let line = line.split(" #").next().unwrap_or(line).trim();
        match kind.as_str() {
            "vars" => {
                let (key, value) =
                    line.split_once('=').ok_or_else(|| fault(path, index + 1, format!("Expected key=value, got: {line}"), None))?;
                inventory.group(&section).vars.insert(Arc::from(key.trim()), literal(value, &place));
            }
            "children" => {
                inventory.group(line);
                inventory.group(&section).children.push(line.to_owned());
            }
            _ => {
                let arguments = crate::playbook::args::parse("inventory", line, &place);
                let name = arguments.get("_raw_params").and_then(Data::as_str).unwrap_or_default().to_owned();
                let mut vars = Dict::new();
                for (key, value) in arguments.iter().filter(|(key, _)| &***key != "_raw_params") {
                    vars.insert(key.clone(), value.as_str().map_or_else(|| value.clone(), |text| literal(text, &place)));
                }
                for host in expand(&name) {
                    let entry: &mut Host = inventory.hosts.entry(host.clone()).or_default();
                    entry.vars.extend(vars.clone());
                    if section != "ungrouped" && section != "all" {
                        let hosts = &mut inventory.group(&section).hosts;
                        if !hosts.contains(&host) {
                            hosts.push(host);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Controller;

    #[test]
    fn reads_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let ini = folder.path().join("hosts");
        std::fs::write(&ini, "solo\n[web]\nweb[1:2] port=80 name='a b'\n[db]\ndb1\n[prod:children]\nweb\ndb\n[prod:vars]\nx=1\n").unwrap();
        let yml = folder.path().join("hosts.yml");
        std::fs::write(
            &yml,
            "all:\n  hosts:\n    solo:\n  children:\n    prod:\n      vars: {x: 1}\n      children:\n        web:\n          hosts:\n            web[1:2]: {port: 80, name: a b}\n        db:\n          hosts: {db1: }\n",
        )
        .unwrap();
        for path in [ini, yml] {
            let inventory = Inventory::from_file(&path).unwrap();
            let mut names = inventory.names();
            names.sort();
            assert_eq!(names, ["db1", "solo", "web1", "web2"]);
            assert_eq!(inventory.members("prod"), ["web1", "web2", "db1"]);
            assert_eq!(inventory.members("ungrouped"), ["solo"]);
            assert_eq!(inventory.groups_of("web1"), ["prod", "web"]);
            let vars = inventory.variables("web2", folder.path(), &Controller::default()).unwrap();
            assert_eq!(vars["port"], Data::Int(80));
            assert_eq!(vars["name"], Data::str("a b"));
            assert_eq!(vars["x"], Data::Int(1));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "[web:nope]\n").unwrap();
        assert!(Inventory::from_file(&path).unwrap_err().to_string().contains("unknown type: nope"));
    }
}
