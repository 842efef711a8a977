//! A picture of a lab, drawn from its lab file alone: nodes, groups, names, published ports, the network. The same file always gives the
//! same picture, byte by byte.

mod dot;
mod svg;

use labctl_spec::lab::{Lab, Node, spell_ports};

pub use dot::dot;
pub use svg::svg;

/// Longest text on a card, in characters; what is longer is cut in the middle.
const LONGEST: usize = 44;

/// Nodes that are in the same groups.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    /// The groups, joined; empty for nodes in no group.
    label: String,
    cards: Vec<Card>,
}

/// What is shown of a node.
#[derive(Debug, PartialEq, Eq)]
struct Card {
    name: String,
    lines: Vec<String>,
}

/// The frames in the order of their first nodes.
fn frames(lab: &Lab) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for node in &lab.nodes {
        let label = node.groups.join(", ");
        let card = card(lab, node);
        match frames.iter_mut().find(|frame| frame.label == label) {
            Some(frame) => frame.cards.push(card),
            None => frames.push(Frame { label, cards: vec![card] }),
        }
    }
    frames
}

fn card(lab: &Lab, node: &Node) -> Card {
    let own = format!("{}.{}", node.name, lab.network.domain);
    let cpus = if node.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", node.cpus) };
    let mut lines = vec![node.address.to_string(), format!("{}, {cpus}, {}", node.image, node.memory)];
    lines.extend(node.hostnames.iter().filter(|name| **name != own).map(|name| cut(name)));
    lines.extend(published(node));
    Card { name: cut(node.name.as_str()), lines }
}

/// Published ports, in lines that are not too long.
fn published(node: &Node) -> Vec<String> {
    let ports = spell_ports(&node.publish);
    let mut lines: Vec<String> = Vec::new();
    for port in ports.split(',').filter(|port| !port.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.len() + port.len() + 2 <= LONGEST / 2 => *line += &format!(", {port}"),
            Some(_) => lines.push(format!("  {port}")),
            None => lines.push(format!("▸ {port}")),
        }
    }
    lines
}

/// The network in one line.
fn network(lab: &Lab) -> String {
    let network = &lab.network;
    let outside = match (network.internet, &network.proxy) {
        (false, _) => "no internet",
        (true, Some(_)) => "internet, through a proxy",
        (true, None) => "internet",
    };
    let loopback = if network.host_loopback { ", the host's loopback" } else { "" };
    format!("{}, *.{}, {outside}{loopback}", network.subnet, network.domain)
}

fn cut(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= LONGEST {
        return text.to_owned();
    }
    let half = LONGEST / 2 - 1;
    let ends = |range: &[char]| range.iter().collect::<String>();
    format!("{}…{}", ends(&letters[..half]), ends(&letters[letters.len() - half..]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    pub(super) fn lab() -> Lab {
        let text = "name: g\nnetwork: {subnet: 10.99.7.0/24, domain: g.test}\nnodes:\n\
                    - {name: s, groups: [servers, consul], memory: 256M, hostnames: [www.g.test], publish: [8500, \"8080:80\", 53/udp]}\n\
                    - {name: c, count: 2, groups: [clients], memory: 1G, cpus: 2}\n\
                    - {name: t, groups: [servers, consul]}\n\
                    - {name: alone}\n";
        labctl_spec::parse_lab(text, Path::new("/g/lab.yml")).unwrap()
    }

    #[test]
    fn nodes_of_the_same_groups_are_together() {
        let frames = frames(&lab());
        let shown: Vec<(&str, Vec<&str>)> =
            frames.iter().map(|frame| (frame.label.as_str(), frame.cards.iter().map(|card| card.name.as_str()).collect())).collect();
        assert_eq!(shown, [("servers, consul", vec!["s", "t"]), ("clients", vec!["c1", "c2"]), ("", vec!["alone"])]);
        assert_eq!(frames[0].cards[0].lines, ["10.99.7.10", "debian-12, 1 CPU, 256M", "www.g.test", "▸ 8500, 8080:80", "  53/udp"]);
        assert_eq!(frames[1].cards[0].lines, ["10.99.7.11", "debian-12, 2 CPUs, 1G"]);
        assert_eq!(network(&lab()), "10.99.7.0/24, *.g.test, internet");
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        let long = "a".repeat(30) + &"b".repeat(30);
        let short = cut(&long);
        assert_eq!((short.chars().count(), short.starts_with('a'), short.ends_with('b')), (43, true, true));
        assert_eq!(cut("web1"), "web1");
    }
}
