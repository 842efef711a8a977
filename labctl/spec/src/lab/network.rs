//! The lab's subnet and domain.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{LabFile, Network, outside};
use crate::check::STAND_IN;
use crate::names;
use crate::report::Report;
use crate::stable_hash::hash;

/// The network, and whether its subnet is valid.
pub(super) struct Checked {
    pub(super) network: Network,
    /// False after a fault; addresses are then not compared with the subnet.
    pub(super) subnet_known: bool,
    pub(super) domain: String,
}

const SUBNET: &str = "/network/subnet";

pub(super) fn network(plain: &LabFile, folder: &Path, report: &mut Report) -> Checked {
    let derived = derived_subnet(plain.name.as_str());
    let (subnet, subnet_known) = match &plain.network.subnet {
        None => (derived, plain.name.as_str() != STAND_IN && !report.is_faulty(SUBNET)),
        Some(text) => match subnet(text) {
            Ok(subnet) => (subnet, true),
            Err((reason, hint)) => {
                report.add(SUBNET, reason, hint);
                (derived, false)
            }
        },
    };
    let domain = plain.network.domain.clone().unwrap_or_else(|| plain.name.to_string());
    if let Err((reason, hint)) = names::host_name(&domain) {
        report.add("/network/domain", reason, hint);
    }
    let network = Network {
        subnet,
        gateway: offset(subnet, 1),
        domain: domain.clone(),
        internet: plain.network.internet.unwrap_or(true),
        host_loopback: plain.network.host_loopback.unwrap_or(false),
        ipv6: plain.network.ipv6.unwrap_or(true).then(|| ipv6_prefix(subnet)),
        proxy: outside::proxy(plain.network.proxy.as_ref(), plain.network.host_loopback.unwrap_or(false), report),
        ca: outside::authorities(&plain.network.ca, folder, report),
    };
    // A domain that was dropped because of a fault conflicts with nothing.
    let domain = if report.is_faulty("/network/domain") { String::new() } else { domain };
    Checked { network, subnet_known, domain }
}

/// The default subnet of a lab: one of the 16,384 `/24` of 10.64.0.0/10, chosen by a hash of the lab's name, so that two labs rarely share
/// one and a lab keeps its own.
pub(super) fn derived_subnet(name: &str) -> Ipv4Net {
    let [third, second, ..] = hash(&["subnet", name]).to_le_bytes();
    let network = Ipv4Addr::new(10, 64 | (second & 0x3f), third, 0);
    Ipv4Net::new(network, 24).unwrap_or_default()
}

/// The IPv6 prefix of a lab: a unique local one, whose 40 random bits are a hash of the subnet (RFC 4193), so that each subnet of this
/// host has its own, and a lab keeps it.
pub(super) fn ipv6_prefix(subnet: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d, e, ..] = hash(&["ipv6", &subnet.to_string()]).to_le_bytes();
    let global = u16::from_be_bytes([0xfd, a]);
    let network = Ipv6Addr::new(global, u16::from_be_bytes([b, c]), u16::from_be_bytes([d, e]), 0, 0, 0, 0, 0);
    Ipv6Net::new(network, 64).unwrap_or_default()
}

/// The `n`-th address of a subnet, the network's own being the 0th; stays inside the address space.
pub(super) fn offset(subnet: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(n))
}

/// Ranges that a lab may use, and their purpose.
const ALLOWED: [(&str, u8, &str); 8] = [
    ("10.0.0.0", 8, "private, RFC 1918"),
    ("172.16.0.0", 12, "private, RFC 1918"),
    ("192.168.0.0", 16, "private, RFC 1918"),
    ("100.64.0.0", 10, "shared, RFC 6598"),
    ("198.18.0.0", 15, "benchmarks, RFC 2544"),
    ("192.0.2.0", 24, "documentation, RFC 5737"),
    ("198.51.100.0", 24, "documentation, RFC 5737"),
    ("203.0.113.0", 24, "documentation, RFC 5737"),
];

const HINT: &str = "write a private subnet such as `10.77.0.0/24`";

/// A valid lab subnet; otherwise what is wrong, and a hint.
pub(super) fn subnet(text: &str) -> Result<Ipv4Net, (String, String)> {
    let fault = |reason: String| Err((reason, HINT.to_owned()));
    let Some((address, prefix)) = text.split_once('/') else {
        return match text.parse::<Ipv4Addr>() {
            Ok(_) => Err((format!("`{text}` has no prefix length"), format!("write `{text}/24` for 256 addresses"))),
            Err(_) => fault(format!("`{text}` is not an IPv4 subnet")),
        };
    };
    let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u8>()) else {
        return fault(format!("`{text}` is not an IPv4 subnet"));
    };
    let Ok(net) = Ipv4Net::new(address, prefix) else {
        return fault(format!("`{text}` is not an IPv4 subnet: a prefix has at most 32 bits"));
    };
    if net.trunc() != net {
        let hint = format!("write `{}`", net.trunc());
        return Err((format!("`{text}` is an address inside a subnet, not a subnet"), hint));
    }
    if prefix > 30 {
        let reason = format!("`{text}` is too small: besides the gateway there must be room for a node");
        return Err((reason, "use a prefix of /30 or shorter, such as /24".to_owned()));
    }
    if prefix < 8 {
        return fault(format!("`{text}` is too large"));
    }
    match forbidden(address) {
        Some(why) => fault(format!("`{text}` cannot be a lab's subnet: {why}")),
        None if allowed(net) => Ok(net),
        None => {
            let reason = format!("`{text}` belongs to the internet: the lab would hide those machines from its guests");
            fault(reason)
        }
    }
}

/// Whether a lab may use a subnet.
pub(super) fn allowed(net: Ipv4Net) -> bool {
    ALLOWED.iter().any(|(range, prefix, _)| {
        let range = range.parse().ok().and_then(|address| Ipv4Net::new(address, *prefix).ok());
        range.is_some_and(|range| range.contains(&net))
    })
}

fn forbidden(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("0.0.0.0/8 means \"this network\""),
        [127, ..] => Some("127.0.0.0/8 is every machine's own loopback"),
        [169, 254, ..] => Some("169.254.0.0/16 is for link-local addresses"),
        [224..=239, ..] => Some("224.0.0.0/4 is for multicast"),
        [240..=255, ..] => Some("240.0.0.0/4 is reserved"),
        _ => None,
    }
}
