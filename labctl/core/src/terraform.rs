//! A lab as data for Terraform: a local value `lab` with its nodes, in JSON or in HCL.

mod hcl;

use labctl_lab::Failure;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_spec::lab::{Node, Protocol};
use serde_json::{Map, Value, json};

use crate::ssh::{Access, config_file};

/// Where SSH servers listen.
const SSH: u16 = 22;

/// The file's text as JSON, for a file `lab.tf.json`.
pub fn json(home: &Home, record: &Record) -> Result<String, Failure> {
    let locals = templates(&json!({ "locals": { "lab": lab(home, record)? } }));
    serde_json::to_string_pretty(&locals).map_err(|why| Failure::new(labctl_lab::Kind::Internal, why.to_string()))
}

/// The file's text as HCL, for a file `lab.tf`.
pub fn hcl(home: &Home, record: &Record) -> Result<String, Failure> {
    Ok(hcl::locals("lab", &templates(&lab(home, record)?)))
}

fn lab(home: &Home, record: &Record) -> Result<Value, Failure> {
    let lab = &record.lab;
    let access = Access::prepare(home, record)?;
    let nodes: Map<String, Value> = lab.nodes.iter().map(|each| (each.name.to_string(), node(record, each))).collect();
    Ok(json!({
        "name": lab.name,
        "domain": lab.network.domain,
        "subnet": lab.network.subnet,
        "private_key": access.key,
        // For `local-exec`: a connection through labctl, which needs no published port.
        "ssh_config": config_file(home, record)?,
        "groups": lab.groups(),
        "nodes": nodes,
    }))
}

fn node(record: &Record, node: &Node) -> Value {
    let loopback = record.loopback(node);
    let ssh = node.publish.iter().find(|port| port.node == SSH && port.protocol == Protocol::Tcp);
    let published =
        node.publish.iter().map(|port| (format!("{}{}", port.node, port.protocol.suffix()), format!("{loopback}:{}", port.host)));
    json!({
        "name": node.name,
        "address": node.address,
        "host_address": loopback,
        "hostnames": node.hostnames,
        "groups": node.groups,
        "user": node.login(),
        "host_key": record.nodes.get(&node.name).map(|kept| kept.host_key.public.trim_end()),
        // What a `connection` block needs; null unless the lab file publishes port 22.
        "ssh_port": ssh.map(|port| port.host),
        "published": published.collect::<std::collections::BTreeMap<_, _>>(),
        "cpus": node.cpus,
        "memory_mib": node.memory.as_mib(),
    })
}

/// Values as Terraform's templates: what would begin an expression in one stands for itself.
fn templates(value: &Value) -> Value {
    let escaped = |text: &str| text.replace("${", "$${").replace("%{", "%%{");
    match value {
        Value::String(text) => escaped(text).into(),
        Value::Array(items) => items.iter().map(templates).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (escaped(key), templates(value))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn nodes_have_what_a_connection_needs() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let text = "name: t\nnetwork: {subnet: 10.99.7.0/24}\nuser: {name: deploy}\nnodes:\n\
                    - {name: a, groups: [web], publish: [\"2222:22\", 53/udp]}\n- {name: b}\n";
        let record = Record::prepare(&home, labctl_spec::parse_lab(text, Path::new("/t/lab.yml")).unwrap()).unwrap();
        let read: Value = serde_json::from_str(&json(&home, &record).unwrap()).unwrap();
        let lab = &read["locals"]["lab"];
        let (a, b) = (&lab["nodes"]["a"], &lab["nodes"]["b"]);
        assert_eq!((&a["ssh_port"], &b["ssh_port"]), (&json!(2222), &Value::Null));
        assert_eq!(a["published"], json!({ "22": "127.64.7.10:2222", "53/udp": "127.64.7.10:53" }));
        assert_eq!((&a["user"], &a["host_address"], &lab["groups"]["web"]), (&json!("deploy"), &json!("127.64.7.10"), &json!(["a"])));
        assert!(a["host_key"].as_str().unwrap().starts_with("ssh-ed25519 "), "{a}");
        for file in ["private_key", "ssh_config"] {
            assert!(Path::new(lab[file].as_str().unwrap()).is_file(), "{lab}");
        }
        let text = hcl(&home, &record).unwrap();
        assert!(text.starts_with("locals {\n  lab = {\n") && text.contains("\n        ssh_port = 2222\n"), "{text}");
    }

    #[test]
    fn text_is_no_expression() {
        assert_eq!(templates(&json!({ "a${b}": ["%{if}", 1, null] })), json!({ "a$${b}": ["%%{if}", 1, null] }));
    }
}
