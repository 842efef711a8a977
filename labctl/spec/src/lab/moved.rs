//! A lab in a different subnet than its file's: a clone may be moved.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Lab, network};
use crate::ident::{LabName, NodeName};

/// Why a text is not a valid lab subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadSubnet {
    /// What is wrong, including the offending value.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

/// Why a lab does not fit into a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subnet} is too small: `{node}` ({address}) keeps the host part of its address, which does not fit")]
pub struct NoPlace {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The node with the highest host part.
    pub node: NodeName,
    /// Its address now.
    pub address: Ipv4Addr,
    /// The smallest subnet around `subnet` that fits all nodes.
    pub enough: Ipv4Net,
}

/// Parses a subnet by the rules of the lab file's `network.subnet`.
///
/// # Errors
/// It is not a subnet, not private, or too small for any lab.
pub fn subnet(text: &str) -> Result<Ipv4Net, BadSubnet> {
    network::subnet(text).map_err(|(reason, hint)| BadSubnet { reason, hint })
}

/// The default subnet of a lab with that name.
pub fn subnet_of(name: &LabName) -> Ipv4Net {
    network::derived_subnet(name.as_str())
}

impl Lab {
    /// The same lab in `subnet`: every node keeps the host part of its address, and the gateway is the subnet's first address. Addresses in
    /// other text of the lab file, such as variables, stay unchanged.
    ///
    /// # Errors
    /// A host part does not fit in `subnet`.
    pub fn in_subnet(mut self, subnet: Ipv4Net) -> Result<Self, NoPlace> {
        let from = u32::from(self.network.subnet.network());
        let host_part = |address: Ipv4Addr| u32::from(address).wrapping_sub(from);
        let last = u32::from(subnet.broadcast()) - u32::from(subnet.network());
        if let Some(highest) = self.nodes.iter().max_by_key(|node| host_part(node.address)).filter(|node| host_part(node.address) >= last) {
            // Leaves room for the broadcast address above it.
            let prefix = u8::try_from(host_part(highest.address).saturating_add(1).leading_zeros()).unwrap_or_default();
            let enough = Ipv4Net::new(subnet.network(), prefix).unwrap_or(subnet).trunc();
            return Err(NoPlace { subnet, node: highest.name.clone(), address: highest.address, enough });
        }
        for node in &mut self.nodes {
            node.address = network::offset(subnet, host_part(node.address));
        }
        self.network.gateway = network::offset(subnet, 1);
        self.network.subnet = subnet;
        self.network.ipv6 = self.network.ipv6.map(|_| network::ipv6_prefix(subnet));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lab(text: &str) -> Lab {
        crate::parse_lab(text, Path::new("/nowhere/lab.yml")).expect("valid")
    }

    fn net(text: &str) -> Ipv4Net {
        subnet(text).expect("a subnet")
    }

    #[test]
    fn nodes_keep_their_host_parts() {
        let file = "name: t\nnetwork: {subnet: 10.5.4.0/22}\nnodes: [{name: a}, {name: b, address: 10.5.6.7}]\n";
        let moved = lab(file).in_subnet(net("10.99.0.0/16")).expect("there is room");
        let addresses: Vec<String> = moved.nodes.iter().map(|node| node.address.to_string()).collect();
        assert_eq!(addresses, ["10.99.0.10", "10.99.2.7"]);
        assert_eq!((moved.network.subnet, moved.network.gateway), (net("10.99.0.0/16"), "10.99.0.1".parse().expect("an address")));
        assert_eq!(moved.network.domain, "t", "names stay");
        let six = |lab: &Lab| lab.network.ipv6_of(lab.nodes[1].address).expect("IPv6").to_string();
        assert!(six(&moved).starts_with("fd") && six(&moved).ends_with("::207"), "{}", six(&moved));
        assert_ne!(six(&moved), six(&lab(file)), "another prefix");
        let without = lab("name: t\nnetwork: {ipv6: false}\nnodes: [{name: a}]\n");
        assert_eq!(without.clone().in_subnet(net("10.99.0.0/16")).expect("there is room").network.ipv6, None);
        // Moving it again changes nothing; moving it back restores the original.
        assert_eq!(moved.clone().in_subnet(net("10.99.0.0/16")).expect("there is room"), moved);
        assert_eq!(moved.in_subnet(net("10.5.4.0/22")).expect("there is room"), lab(file));
    }

    #[test]
    fn a_subnet_without_room_is_refused_with_one_that_has_it() {
        let at = |host: u32| {
            lab(&format!("name: t\nnetwork: {{subnet: 10.5.0.0/16}}\nnodes: [{{name: a}}, {{name: b, address: 10.5.0.{host}}}]\n"))
        };
        let refused = |host: u32, to: &str| at(host).in_subnet(net(to)).expect_err("no room");
        let why = refused(77, "10.99.0.16/28");
        assert_eq!(why.to_string(), "10.99.0.16/28 is too small: `b` (10.5.0.77) keeps the host part of its address, which does not fit");
        assert_eq!(why.enough, net("10.99.0.0/25"));
        assert!(at(77).in_subnet(why.enough).is_ok());
        // The address right below the broadcast address is the highest that fits.
        assert!(at(126).in_subnet(net("10.99.0.0/25")).is_ok());
        assert_eq!(refused(127, "10.99.0.0/25").enough, net("10.99.0.0/24"));
        assert_eq!(refused(128, "10.99.0.0/25").enough, net("10.99.0.0/24"));
    }

    #[test]
    fn a_bad_subnet_has_a_reason_and_a_way_out() {
        for (text, reason, hint) in [
            ("8.8.8.0/24", "belongs to the internet", "10.77.0.0/24"),
            ("10.1.0.0/31", "too small", "/30"),
            ("10.1.0.5/24", "inside a subnet", "10.1.0.0/24"),
            ("10.1.0.0", "no prefix length", "10.1.0.0/24"),
            ("auto!", "not an IPv4 subnet", "10.77.0.0/24"),
        ] {
            let bad = subnet(text).expect_err(text);
            assert!(bad.reason.contains(reason) && bad.hint.contains(hint), "{bad:?}");
        }
        let derived = subnet_of(&"t".parse().expect("a name"));
        assert_eq!(derived, lab("name: t\nnodes: [{name: a}]\n").network.subnet);
    }
}
