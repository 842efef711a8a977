//! Interfaces, addresses, the default route and DNS settings.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::{line, text};
use crate::modules::call::root::Root;

#[derive(Debug, Default, Clone)]
struct Addresses {
    v4: Vec<(Ipv4Addr, Ipv4Addr, Option<Ipv4Addr>)>,
    v6: Vec<(Ipv6Addr, u32)>,
    up: bool,
    promiscuous: bool,
}

pub(super) fn add(root: &Root, facts: &mut Map<String, Value>) {
    let interfaces = interfaces();
    let (route, gateway) = default_route(root);
    let (mut all4, mut all6) = (Vec::new(), Vec::new());
    for (name, addresses) in &interfaces {
        let mut fact = describe(root, name, addresses);
        for (address, ..) in &addresses.v4 {
            if !address.is_loopback() {
                all4.push(Value::from(address.to_string()));
            }
        }
        for (address, _) in &addresses.v6 {
            if !address.is_loopback() {
                all6.push(Value::from(address.to_string()));
            }
        }
        if *name == route && !addresses.v4.is_empty() {
            let mut default = fact["ipv4"].clone();
            default["interface"] = name.as_str().into();
            default["alias"] = name.as_str().into();
            default["gateway"] = gateway.clone().into();
            default["macaddress"] = fact["macaddress"].clone();
            default["mtu"] = fact["mtu"].clone();
            default["type"] = fact["type"].clone();
            facts.insert("default_ipv4".into(), default);
        }
        if fact["macaddress"] == "" {
            fact.as_object_mut().map(|fact| fact.remove("macaddress"));
        }
        facts.insert(name.replace([':', '-', '.'], "_"), fact);
    }
    facts.entry("default_ipv4").or_insert(json!({}));
    facts.entry("default_ipv6").or_insert(json!({}));
    facts.insert("interfaces".into(), interfaces.keys().cloned().collect::<Vec<_>>().into());
    facts.insert("all_ipv4_addresses".into(), all4.into());
    facts.insert("all_ipv6_addresses".into(), all6.into());
    facts.insert("dns".into(), dns(root));
}

fn describe(root: &Root, name: &str, addresses: &Addresses) -> Value {
    let sys = |file: &str| line(root, &format!("/sys/class/net/{name}/{file}"));
    let mut fact = json!({
        "device": name,
        "active": addresses.up,
        "promisc": addresses.promiscuous,
        "macaddress": sys("address").replace("00:00:00:00:00:00", ""),
        "mtu": sys("mtu").parse::<u64>().unwrap_or(0),
        "type": if name == "lo" { "loopback" } else if root.join(format!("/sys/class/net/{name}/bridge")).exists() { "bridge" } else { "ether" },
    });
    let described: Vec<Value> = addresses
        .v4
        .iter()
        .map(|(address, mask, broadcast)| {
            let mask_bits = u32::from(*mask);
            json!({
                "address": address.to_string(),
                "netmask": mask.to_string(),
                "network": Ipv4Addr::from(u32::from(*address) & mask_bits).to_string(),
                "prefix": mask_bits.count_ones().to_string(),
                "broadcast": broadcast.map_or(String::new(), |b| b.to_string()),
            })
        })
        .collect();
    if let Some((first, others)) = described.split_first() {
        fact["ipv4"] = first.clone();
        if !others.is_empty() {
            fact["ipv4_secondaries"] = others.into();
        }
    }
    if !addresses.v6.is_empty() {
        let list: Vec<Value> = addresses
            .v6
            .iter()
            .map(|(address, prefix)| {
                let scope = match address.segments()[0] {
                    0 if address.is_loopback() => "host",
                    first if first & 0xffc0 == 0xfe80 => "link",
                    _ => "global",
                };
                json!({"address": address.to_string(), "prefix": prefix.to_string(), "scope": scope})
            })
            .collect();
        fact["ipv6"] = list.into();
    }
    fact
}

/// All interfaces with their addresses, from getifaddrs(3).
fn interfaces() -> BTreeMap<String, Addresses> {
    let mut all: BTreeMap<String, Addresses> = BTreeMap::new();
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the list is valid until freeifaddrs; every address is read as the type that its family indicates.
    unsafe {
        if libc::getifaddrs(&raw mut head) != 0 {
            return all;
        }
        let mut at = head;
        while let Some(entry) = at.as_ref() {
            at = entry.ifa_next;
            let name = CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned();
            let addresses = all.entry(name).or_default();
            addresses.up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
            addresses.promiscuous = entry.ifa_flags & libc::IFF_PROMISC as u32 != 0;
            match entry.ifa_addr.as_ref().map(|address| i32::from(address.sa_family)) {
                Some(libc::AF_INET) => {
                    if let Some(address) = v4(entry.ifa_addr) {
                        let mask = v4(entry.ifa_netmask).unwrap_or(Ipv4Addr::BROADCAST);
                        let broadcast = entry.ifa_flags & libc::IFF_BROADCAST as u32 != 0;
                        let broadcast = v4(entry.ifa_ifu).filter(|_| broadcast);
                        addresses.v4.push((address, mask, broadcast));
                    }
                }
                Some(libc::AF_INET6) => {
                    if let Some(address) = v6(entry.ifa_addr) {
                        let prefix = v6(entry.ifa_netmask).map_or(128, |mask| u128::from(mask).count_ones());
                        addresses.v6.push((address, prefix));
                    }
                }
                _ => {}
            }
        }
        libc::freeifaddrs(head);
    }
    all
}

/// # Safety
/// `address` is null or points to a whole `sockaddr_in`.
unsafe fn v4(address: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: guaranteed by the caller; the structure may be unaligned.
    (!address.is_null()).then(|| unsafe {
        let address: libc::sockaddr_in = std::ptr::read_unaligned(address.cast());
        Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))
    })
}

/// # Safety
/// `address` is null or points to a whole `sockaddr_in6`.
unsafe fn v6(address: *const libc::sockaddr) -> Option<Ipv6Addr> {
    // SAFETY: guaranteed by the caller; the structure may be unaligned.
    (!address.is_null()).then(|| unsafe {
        let address: libc::sockaddr_in6 = std::ptr::read_unaligned(address.cast());
        Ipv6Addr::from(address.sin6_addr.s6_addr)
    })
}

/// Interface and gateway of the default route with the lowest metric.
fn default_route(root: &Root) -> (String, String) {
    let table = text(root, "/proc/net/route");
    let mut best: Option<(u32, String, String)> = None;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, "00000000", gateway, _, _, _, metric, ..] = fields[..] else {
            continue;
        };
        let gateway = u32::from_str_radix(gateway, 16).map_or(0, u32::swap_bytes);
        let metric = metric.parse().unwrap_or(0);
        if best.as_ref().is_none_or(|(lowest, ..)| metric < *lowest) {
            best = Some((metric, name.to_owned(), Ipv4Addr::from(gateway).to_string()));
        }
    }
    best.map_or_else(Default::default, |(_, name, gateway)| (name, gateway))
}

fn dns(root: &Root) -> Value {
    let mut dns = Map::new();
    for line in text(root, "/etc/resolv.conf").lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let rest: Vec<&str> = words.collect();
        match key {
            "nameserver" => {
                let list = dns.entry("nameservers").or_insert(json!([]));
                if let Value::Array(list) = list {
                    list.extend(rest.iter().map(|word| Value::from(*word)));
                }
            }
            "domain" => {
                dns.insert("domain".into(), rest.first().copied().unwrap_or_default().into());
            }
            "search" | "sortlist" => {
                dns.insert(key.to_owned(), rest.into());
            }
            "options" => {
                let options = rest.iter().map(|option| match option.split_once(':') {
                    Some((key, value)) => (key.to_owned(), Value::from(value)),
                    None => ((*option).to_owned(), Value::Bool(true)),
                });
                dns.insert("options".into(), Value::Object(options.collect()));
            }
            _ => {}
        }
    }
    Value::Object(dns)
}
