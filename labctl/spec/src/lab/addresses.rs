//! Each machine's IP and Ethernet address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::LabFile;
use super::expand::Machine;
use super::network::{Checked, allowed, offset};
use crate::ident::{MacAddr, NodeName};
use crate::report::Report;
use crate::stable_hash::hash;

/// First offset in the subnet that is assigned; lower ones are used when all above are taken.
const FIRST: u32 = 10;

/// One address per machine. Addresses in the file come first; the other machines get the next free one from .10 on, in file order.
pub(super) fn addresses(plain: &LabFile, machines: &[Machine], network: &Checked, report: &mut Report) -> Vec<Ipv4Addr> {
    let subnet = network.network.subnet;
    let mut taken: BTreeMap<Ipv4Addr, &NodeName> = BTreeMap::new();
    let mut given: Vec<Option<Ipv4Addr>> = Vec::with_capacity(machines.len());
    let mut told = BTreeSet::new();
    for machine in machines {
        let first = plain.nodes.get(machine.entry).and_then(|node| node.address);
        let address = first.map(|first| {
            let next = u32::from(first).saturating_add(machine.number.map_or(0, |number| number - 1));
            Ipv4Addr::from(next)
        });
        given.push(address);
        let Some(address) = address else { continue };
        let wrong = match taken.get(&address) {
            Some(other) => Some((format!("{address} is already the address of `{other}`"), "choose a free one".to_owned())),
            None if network.subnet_known => misplaced(address, plain, network),
            None => None,
        };
        taken.entry(address).or_insert(&machine.name);
        if let Some((reason, hint)) = wrong
            && told.insert(machine.entry)
        {
            let reason = match machine.number {
                Some(number) if number > 1 => {
                    format!("`{}`, number {number}: {reason}", machine.name)
                }
                _ => reason,
            };
            report.add(&format!("/nodes/{}/address", machine.entry), reason, hint);
        }
    }

    let size = u32::from(subnet.broadcast()) - u32::from(subnet.network());
    let mut free = (FIRST..size).chain(2..FIRST.min(size)).map(|n| offset(subnet, n)).filter(|address| !taken.contains_key(address));
    let mut short = 0usize;
    let addresses = given
        .iter()
        .map(|given| {
            given.or_else(|| free.next()).unwrap_or_else(|| {
                short += 1;
                Ipv4Addr::UNSPECIFIED
            })
        })
        .collect();
    if short > 0 && network.subnet_known {
        let reason = format!("{subnet} has addresses for {} nodes; this lab has {}", size - 2, machines.len());
        let at = if plain.network.subnet.is_some() { "/network/subnet" } else { "/nodes" };
        report.add(at, reason, format!("give a larger `network.subnet`, such as `10.77.0.0/{}`", room(machines.len())));
    }
    addresses
}

/// The longest prefix with room for that many nodes.
fn room(nodes: usize) -> u32 {
    // Plus the network, gateway and broadcast addresses.
    let addresses = u32::try_from(nodes).unwrap_or(u32::MAX).saturating_add(3);
    (addresses - 1).leading_zeros().min(24)
}

fn misplaced(address: Ipv4Addr, plain: &LabFile, network: &Checked) -> Option<(String, String)> {
    let subnet = network.network.subnet;
    let range = format!(
        "use one from {} to {}",
        offset(subnet, 2),
        offset(subnet, u32::from(subnet.broadcast()) - u32::from(subnet.network()) - 1)
    );
    let reason = if !subnet.contains(&address) {
        if plain.network.subnet.is_none() {
            let [a, b, c, _] = address.octets();
            let reason = format!("{address} is outside the lab's subnet {subnet}, which was derived from its name");
            let own = Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), 24).ok().filter(|net| allowed(*net));
            return Some(match own {
                Some(own) => (reason, format!("add `network: {{subnet: {own}}}`")),
                None => (reason, "leave it out, or give the lab a private subnet".to_owned()),
            });
        }
        format!("{address} is outside the lab's subnet {subnet}")
    } else if address == network.network.gateway {
        format!("{address} is the gateway's address")
    } else if address == subnet.network() {
        format!("{address} is the network's own address")
    } else if address == subnet.broadcast() {
        format!("{address} is the broadcast address")
    } else {
        return None;
    };
    Some((reason, range))
}

/// One Ethernet address per machine: 52:54:00, QEMU's own prefix, and three bytes of a hash of the lab's and the node's name; rehashed if
/// two nodes of the lab would share one.
pub(super) fn macs(lab: &str, machines: &[Machine]) -> Vec<MacAddr> {
    let mut taken = BTreeSet::new();
    let of = |machine: &Machine, attempt: u32| {
        let [a, b, c, ..] = hash(&["mac", lab, machine.name.as_str(), &attempt.to_string()]).to_le_bytes();
        MacAddr([0x52, 0x54, 0x00, a, b, c])
    };
    machines
        .iter()
        .map(|machine| {
            let mut attempt = 0;
            loop {
                let mac = of(machine, attempt);
                if taken.insert(mac) {
                    return mac;
                }
                attempt += 1;
            }
        })
        .collect()
}
