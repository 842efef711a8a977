//! What a shell on the host needs to know of a lab: where its services and nodes are.
//!
//! A service's node is found by the port that it publishes: of several nodes, one in a group that is named after the service's servers
//! comes first (`nomad_servers`), then one in a group `servers`, then the first in the lab file. Its address is the node's loopback
//! address, which needs no hosts file.

mod shell;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use labctl_lab::record::Record;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Lab, Node, Protocol};
use serde_json::{Map, Value};

pub use shell::Shell;

/// A program with an HTTP interface whose command line reads the environment.
struct Service {
    name: &'static str,
    port: u16,
    address: &'static str,
    token: &'static str,
}

const SERVICES: [Service; 3] = [
    Service { name: "nomad", port: 4646, address: "NOMAD_ADDR", token: "NOMAD_TOKEN" },
    Service { name: "consul", port: 8500, address: "CONSUL_HTTP_ADDR", token: "CONSUL_HTTP_TOKEN" },
    Service { name: "vault", port: 8200, address: "VAULT_ADDR", token: "VAULT_TOKEN" },
];

/// The variable in which a lab file has the environment of its nodes' shells.
const ENVIRONMENT: &str = "common_environment";

/// Variables with their values, in the order in which they are shown.
pub type Exports = Vec<(String, String)>;

/// What a lab exports: addresses of services, tokens, addresses of nodes by group.
pub fn of(record: &Record) -> Exports {
    let lab = &record.lab;
    let mut out = Exports::new();
    for service in &SERVICES {
        let Some((node, port)) = publisher(lab, service) else { continue };
        let tls = of_environment(lab, node, service.address).is_some_and(|inside| inside.starts_with("https://"));
        let scheme = if tls { "https" } else { "http" };
        out.push((service.address.to_owned(), format!("{scheme}://{}:{port}", record.loopback(node))));
        out.extend(token(lab, node, service).map(|token| (service.token.to_owned(), token)));
    }
    let mut taken: BTreeSet<String> = out.iter().map(|(name, _)| name.clone()).collect();
    for (name, address) in addresses(record) {
        if taken.insert(name.clone()) {
            out.push((name, address.to_string()));
        }
    }
    out
}

/// The token of Nomad's interface, if the lab's variables have one for its node.
pub fn nomad_token(lab: &Lab, node: &Node) -> Option<String> {
    token(lab, node, &SERVICES[0])
}

/// Nodes whose published ports have Nomad's interface, the best one first.
pub fn nomad_nodes(lab: &Lab) -> Vec<&Node> {
    publishers(lab, &SERVICES[0]).into_iter().map(|(node, _)| node).collect()
}

fn publisher<'a>(lab: &'a Lab, service: &Service) -> Option<(&'a Node, u16)> {
    publishers(lab, service).into_iter().next()
}

/// Nodes that publish the service's port, the best one first, each with its port on the host.
fn publishers<'a>(lab: &'a Lab, service: &Service) -> Vec<(&'a Node, u16)> {
    let own = [format!("{}_server", service.name), format!("{}-server", service.name)];
    let rank = |node: &Node| {
        let is_in = |test: &dyn Fn(&str) -> bool| node.groups.iter().any(|group| test(group.trim_end_matches('s')));
        match () {
            () if is_in(&|group| own.iter().any(|own| own == group)) => 0,
            () if is_in(&|group| group == "server") => 1,
            () => 2,
        }
    };
    let port =
        |node: &Node| node.publish.iter().find(|port| port.node == service.port && port.protocol == Protocol::Tcp).map(|port| port.host);
    let mut found: Vec<(&Node, u16)> = lab.nodes.iter().filter_map(|node| Some((node, port(node)?))).collect();
    // Stable: within a rank, the order of the lab file stays.
    found.sort_by_key(|(node, _)| rank(node));
    found
}

/// A token from `common_environment`, or from a variable of that name in small letters.
fn token(lab: &Lab, node: &Node, service: &Service) -> Option<String> {
    let own = [service.token.to_lowercase(), format!("{}_token", service.name)];
    let named = own.iter().find_map(|name| variables(lab, node).find_map(|variables| plain(variables.get(name))));
    of_environment(lab, node, service.token).or(named)
}

fn of_environment(lab: &Lab, node: &Node, name: &str) -> Option<String> {
    let environment = variables(lab, node).find_map(|variables| variables.get(ENVIRONMENT))?;
    plain(environment.get(name))
}

/// A node's variables, the most specific first.
fn variables<'a>(lab: &'a Lab, node: &'a Node) -> impl Iterator<Item = &'a Map<String, Value>> {
    let groups = node.groups.iter().rev().filter_map(|group| lab.group_variables.get(group));
    std::iter::once(&node.variables).chain(groups).chain([&lab.variables])
}

/// A text that is no template: those are for plays.
fn plain(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.is_empty() && !text.contains("{{") && !text.contains("{%")).map(str::to_owned)
}

/// Every group's nodes, numbered from 1: `nomad_clients` are NOMAD_CLIENT_1, NOMAD_CLIENT_2 and so on.
fn addresses(record: &Record) -> Vec<(String, Ipv4Addr)> {
    let lab = &record.lab;
    let mut out = Vec::new();
    for (group, members) in lab.groups() {
        // Nomad's clients are often called just that; and so they are in its own documentation.
        let nomad = matches!(group.as_str(), "clients" | "client") && members.iter().any(|name| serves_nomad(lab, name));
        let stem = format!("{}{}", if nomad { "nomad_" } else { "" }, singular(&group));
        for (position, node) in members.iter().filter_map(|name| lab.node(name)).enumerate() {
            out.push((variable(&stem, position + 1), record.loopback(node)));
        }
    }
    out
}

fn serves_nomad(lab: &Lab, name: &NodeName) -> bool {
    nomad_nodes(lab).iter().any(|node| node.name == *name)
}

fn singular(group: &str) -> &str {
    match group.strip_suffix('s') {
        Some(one) if !one.is_empty() && !one.ends_with('s') => one,
        _ if group == "all" => "node",
        _ => group,
    }
}

/// A name that every shell accepts.
fn variable(stem: &str, number: usize) -> String {
    let letters = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = letters.collect();
    let first = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    format!("{first}{name}_{number}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use labctl_lab::home::Home;

    use super::*;

    fn exports(text: &str) -> Exports {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let lab = labctl_spec::parse_lab(text, Path::new("/e/lab.yml")).unwrap();
        of(&Record::prepare(&home, lab).unwrap())
    }

    fn value<'a>(exports: &'a Exports, name: &str) -> Option<&'a str> {
        exports.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn services_are_those_of_the_servers() {
        let found = exports(
            "name: e\nnetwork: {subnet: 10.99.7.0/24}\nnodes:\n\
             - {name: balancer, groups: [lb], publish: [8500]}\n\
             - {name: c, count: 2, groups: [clients], publish: [4646]}\n\
             - {name: s, groups: [servers], publish: [8500, \"14646:4646\", 8200/udp]}\n",
        );
        // `balancer` publishes Consul first, but `s` is a server; Vault's port is published for UDP only.
        assert_eq!(value(&found, "CONSUL_HTTP_ADDR"), Some("http://127.64.7.13:8500"));
        assert_eq!(value(&found, "NOMAD_ADDR"), Some("http://127.64.7.13:14646"));
        assert_eq!(value(&found, "VAULT_ADDR"), None);
        assert_eq!(value(&found, "NOMAD_CLIENT_2"), Some("127.64.7.12"));
        assert_eq!((value(&found, "LB_1"), value(&found, "SERVER_1")), (Some("127.64.7.10"), Some("127.64.7.13")));
        assert_eq!((value(&found, "NODE_4"), value(&found, "NODE_5")), (Some("127.64.7.13"), None));
    }

    #[test]
    fn a_group_of_the_services_own_comes_before_servers() {
        let found = exports(
            "name: e\nnetwork: {subnet: 10.99.7.0/24}\nnodes:\n\
             - {name: a, groups: [servers], publish: [4646]}\n\
             - {name: b, groups: [nomad_servers, nomad-servers], publish: [4646]}\n",
        );
        assert_eq!(value(&found, "NOMAD_ADDR"), Some("http://127.64.7.11:4646"));
        let same: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).filter(|name| *name == "NOMAD_SERVER_1").collect();
        assert_eq!(same.len(), 1, "two groups have the same name for a shell: {found:?}");
    }

    #[test]
    fn tokens_and_schemes_come_from_variables() {
        let found = exports(
            "name: e\nvariables: {nomad_token: of-all, consul_token: \"{{ secret }}\"}\n\
             groups: {servers: {variables: {nomad_token: of-servers, common_environment: {CONSUL_HTTP_ADDR: \"https://127.0.0.1:8500\"}}}}\n\
             nodes: [{name: s, groups: [servers], publish: [4646, 8500]}]\n",
        );
        assert_eq!((value(&found, "NOMAD_TOKEN"), value(&found, "CONSUL_HTTP_TOKEN")), (Some("of-servers"), None));
        assert!(value(&found, "CONSUL_HTTP_ADDR").unwrap().starts_with("https://"), "{found:?}");
        assert!(value(&found, "NOMAD_ADDR").unwrap().starts_with("http://"), "{found:?}");
    }

    #[test]
    fn every_group_has_a_name_that_shells_accept() {
        assert_eq!(variable(singular("3-nodes.x"), 1), "_3_NODE_X_1".replace("NODE_X", "NODES_X"));
        assert_eq!((singular("class"), singular("all"), singular("s"), singular("lb")), ("class", "node", "s", "lb"));
    }
}
