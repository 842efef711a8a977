//! Addresses and networks (the `ipaddr` family), IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::python;

pub(super) const FILTERS: super::Table = &[
    ("ipaddr", |call| each(call, None)),
    ("ipv4", |call| each(call, Some(4))),
    ("ipv6", |call| each(call, Some(6))),
    ("ipwrap", |call| {
        let text = call.text();
        Ok(Data::from(match text.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{text}]"),
            Err(_) => text,
        }))
    }),
    ("nthhost", |call| {
        let index = call.int_arg(0, "query").unwrap_or(0);
        let net = Net::parse(&call.text()).ok_or_else(|| bad(format!("not a network: {}", call.text())))?;
        Ok(net.nth(index).map_or(Data::Bool(false), |address| Data::from(address.to_string())))
    }),
    ("ipsubnet", ipsubnet),
    ("ipmath", |call| {
        let net = Net::parse(&call.text()).ok_or_else(|| bad(format!("You must pass a valid IP address; {} is invalid", call.text())))?;
        let amount = call.int_arg(0, "amount").unwrap_or(0);
        Ok(Data::from(net.make(net.address.wrapping_add_signed(i128::from(amount))).to_string()))
    }),
    ("network_in_network", |call| contains(call, |a, b| a.network() <= b.network() && b.broadcast() <= a.broadcast())),
    ("network_in_usable", |call| contains(call, |a, b| a.network() < b.address && b.address < a.broadcast())),
    ("hwaddr", |call| Ok(Data::from(call.text().to_lowercase().replace('-', ":")))),
];

#[derive(Clone, Copy)]
struct Net {
    v6: bool,
    address: u128,
    prefix: u32,
    /// Whether a prefix was given.
    explicit: bool,
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        let (address, mask) = text.trim().split_once('/').map_or((text.trim(), None), |(address, mask)| (address, Some(mask)));
        let address: IpAddr = address.parse().ok()?;
        let (v6, bits, number) = match address {
            IpAddr::V4(address) => (false, 32, u128::from(u32::from(address))),
            IpAddr::V6(address) => (true, 128, u128::from(address)),
        };
        let prefix = match mask {
            None => bits,
            Some(mask) => match mask.parse::<u32>() {
                Ok(prefix) if prefix <= bits => prefix,
                Ok(_) => return None,
                Err(_) => {
                    let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
                    (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0).then_some(mask.leading_ones())?
                }
            },
        };
        Some(Self { v6, address: number, prefix, explicit: mask.is_some() })
    }

    fn bits(&self) -> u32 {
        if self.v6 { 128 } else { 32 }
    }

    fn host_mask(&self) -> u128 {
        1_u128.checked_shl(self.bits() - self.prefix).map_or(u128::MAX, |value| value - 1)
    }

    fn network(&self) -> u128 {
        self.address & !self.host_mask()
    }

    fn broadcast(&self) -> u128 {
        self.address | self.host_mask()
    }

    fn make(&self, number: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(Ipv6Addr::from(number)) } else { IpAddr::V4(Ipv4Addr::from(number as u32)) }
    }

    /// The n-th address, from the end if negative.
    fn nth(&self, index: i64) -> Option<IpAddr> {
        let start = if index < 0 { self.broadcast().checked_add(1)? } else { self.network() };
        let number = start.checked_add_signed(i128::from(index))?;
        (number >= self.network() && number <= self.broadcast()).then(|| self.make(number))
    }

    fn netmask(&self) -> IpAddr {
        let all = if self.v6 { u128::MAX } else { u128::from(u32::MAX) };
        self.make(all & !self.host_mask())
    }

    fn private(&self) -> bool {
        match self.make(self.address) {
            IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
            IpAddr::V6(address) => address.is_loopback() || address.segments()[0] & 0xfe00 == 0xfc00,
        }
    }

    /// Ansible's queries; none if the query does not apply to the address.
    fn query(&self, query: &str, original: &str) -> Option<Data> {
        let text = |data: String| Some(Data::from(data));
        let address = self.make(self.address);
        let is_host = self.prefix == self.bits() || self.address != self.network();
        match query {
            "" => text(original.to_owned()),
            "address" | "ip" => (is_host || !self.explicit).then(|| Data::from(address.to_string())),
            "host" | "host/prefix" | "address/prefix" | "gateway" | "gw" if query == "host" || is_host => {
                text(format!("{address}/{}", self.prefix))
            }
            "net" => (self.explicit && !is_host || self.address == self.network() && self.prefix < self.bits())
                .then(|| Data::from(format!("{}/{}", self.make(self.network()), self.prefix))),
            "subnet" | "network/prefix" | "cidr" if query != "cidr" => text(format!("{}/{}", self.make(self.network()), self.prefix)),
            "cidr" => text(format!("{address}/{}", self.prefix)),
            "network" | "network_id" => text(self.make(self.network()).to_string()),
            "netmask" => text(self.netmask().to_string()),
            "address/netmask" | "host/netmask" => text(format!("{address}/{}", self.netmask())),
            "network/netmask" | "network_netmask" => text(format!("{}/{}", self.make(self.network()), self.netmask())),
            "ip/prefix" => text(format!("{address}/{}", self.prefix)),
            "ip_netmask" => text(format!("{address} {}", self.netmask())),
            "prefix" => Some(Data::Int(i64::from(self.prefix))),
            "hostmask" | "wildcard" => text(self.make(self.host_mask()).to_string()),
            "broadcast" => (self.prefix + 1 < self.bits()).then(|| Data::from(self.make(self.broadcast()).to_string())),
            "size" => Some(Data::Int(i64::try_from(self.host_mask().saturating_add(1)).unwrap_or(i64::MAX))),
            "first_usable" | "last_usable" | "range_usable" | "size_usable" => {
                let narrow = self.prefix + 1 >= self.bits();
                let (low, high) = if narrow { (self.network(), self.broadcast()) } else { (self.network() + 1, self.broadcast() - 1) };
                match query {
                    "first_usable" => text(self.make(low).to_string()),
                    "last_usable" => text(self.make(high).to_string()),
                    "size_usable" => Some(Data::Int(i64::try_from(high - low + 1).unwrap_or(i64::MAX))),
                    _ => text(format!("{}-{}", self.make(low), self.make(high))),
                }
            }
            "int" => Some(Data::Int(i64::try_from(self.address).ok()?)),
            "version" => Some(Data::Int(if self.v6 { 6 } else { 4 })),
            "type" => text(if is_host { "address" } else { "network" }.to_owned()),
            "bool" => Some(Data::Bool(true)),
            "ipv4" | "v4" => (!self.v6).then(|| Data::str(original)),
            "ipv6" | "v6" => self.v6.then(|| Data::str(original)),
            "private" => self.private().then(|| Data::str(original)),
            "public" => (!self.private()).then(|| Data::str(original)),
            "loopback" | "lo" => address.is_loopback().then(|| Data::str(original)),
            "multicast" => address.is_multicast().then(|| Data::str(original)),
            "revdns" => match address {
                IpAddr::V4(address) => {
                    let [a, b, c, d] = address.octets();
                    text(format!("{d}.{c}.{b}.{a}.in-addr.arpa."))
                }
                IpAddr::V6(address) => {
                    let nibbles: Vec<String> = format!("{:032x}", u128::from(address)).chars().rev().map(String::from).collect();
                    text(format!("{}.ip6.arpa.", nibbles.join(".")))
                }
            },
            other => {
                if let Ok(index) = other.parse::<i64>() {
                    return self.nth(index).map(|address| Data::from(format!("{address}/{}", self.prefix)));
                }
                let range = Net::parse(other)?;
                (range.v6 == self.v6 && range.network() <= self.network() && self.broadcast() <= range.broadcast())
                    .then(|| Data::str(original))
            }
        }
    }
}

fn each(call: &mut Call, version: Option<u8>) -> Outcome {
    let query = call.text_arg(0, "query").unwrap_or_default();
    let one = |text: &str| -> Option<Data> {
        let net = Net::parse(text)?;
        if version.is_some_and(|version| (version == 6) != net.v6) {
            return None;
        }
        net.query(&query, text)
    };
    Ok(match &call.input {
        Data::List(list) => Data::list(list.iter().filter_map(|item| one(&python::str_of(item))).collect()),
        other => one(&python::str_of(other)).unwrap_or(Data::Bool(false)),
    })
}

fn contains(call: &mut Call, holds: fn(&Net, &Net) -> bool) -> Outcome {
    let inner = python::str_of(call.need(0, "test")?);
    Ok(Data::Bool(match (Net::parse(&call.text()), Net::parse(&inner)) {
        (Some(outer), Some(inner)) => outer.v6 == inner.v6 && holds(&outer, &inner),
        _ => false,
    }))
}

/// `network | ipsubnet(prefix, index)`; without an index, the number of subnets.
fn ipsubnet(call: &mut Call) -> Outcome {
    let net = Net::parse(&call.text()).ok_or_else(|| bad(format!("not a network: {}", call.text())))?;
    let whole = format!("{}/{}", net.make(net.network()), net.prefix);
    let Some(prefix) = call.int_arg(0, "query").and_then(|prefix| u32::try_from(prefix).ok()) else {
        return Ok(Data::from(whole));
    };
    if prefix < net.prefix || prefix > net.bits() {
        return Ok(Data::Bool(false));
    }
    let count = 1_u128.checked_shl(prefix - net.prefix).unwrap_or(u128::MAX);
    let Some(index) = call.int_arg(1, "index") else {
        return Ok(Data::Int(i64::try_from(count).unwrap_or(i64::MAX)));
    };
    let index = if index < 0 { count.checked_sub(u128::from(index.unsigned_abs())) } else { u128::try_from(index).ok() };
    match index.filter(|index| *index < count) {
        Some(index) => {
            let step = 1_u128.checked_shl(net.bits() - prefix).unwrap_or(0);
            Ok(Data::from(format!("{}/{prefix}", net.make(net.network() + index * step))))
        }
        None => Ok(Data::Bool(false)),
    }
}
