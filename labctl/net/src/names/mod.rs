//! The lab's name service: authoritative for its own names; other queries go to the host's name servers.
//!
//! RFC 1035 (messages), RFC 2308 (negative answers carry the zone's SOA), RFC 8020 (a name above an existing one exists).

mod datagram;
mod forward;
mod stream;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::{IpNet, Ipv4Net};
use labctl_spec::lab::Network;
use tokio::sync::Semaphore;

pub(crate) use datagram::fit;
pub(crate) use stream::serve_stream;

/// Seconds that a response may be cached. Short, because labs come and go under the same names.
const TTL: u32 = 5;

/// Limit on concurrent queries to the host's name servers.
const MOST_FORWARDED: usize = 256;

/// The names that the lab knows.
#[derive(Debug)]
pub(crate) struct Names {
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
    domain: String,
    subnet: Ipv4Net,
    internet: bool,
    upstream: Vec<SocketAddr>,
    forwards: Semaphore,
}

/// What to do with a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Send this message.
    Reply(Vec<u8>),
    /// Ask the host's name servers.
    Forward,
    /// It is not a query.
    Nothing,
}

/// What is known about a query.
enum Known {
    /// Records, possibly none of the requested type.
    Records(Vec<RData>),
    /// No such name.
    Missing,
    /// Not one of the lab's names.
    Foreign,
}

impl Names {
    /// `names` are lower-case. A name with a dot is complete; any other is known both as is and as `name.domain`. The
    /// first complete name of an address becomes its reverse name.
    pub(crate) fn new(network: &Network, names: &[(String, IpAddr)], upstream: Vec<SocketAddr>) -> Self {
        let domain = network.domain.trim_matches('.').to_ascii_lowercase();
        let mut known = Self {
            addresses: HashMap::new(),
            names: HashMap::new(),
            domain,
            subnet: network.subnet,
            internet: network.internet,
            upstream,
            forwards: Semaphore::new(MOST_FORWARDED),
        };
        for (name, address) in names {
            known.add(name.trim_matches('.'), *address);
        }
        if !known.addresses.contains_key(&format!("gateway.{}", known.domain)) {
            known.add("gateway", network.gateway.into());
        }
        known
    }

    fn add(&mut self, name: &str, address: IpAddr) {
        let name = name.to_ascii_lowercase();
        let full = if name.contains('.') { name.clone() } else { format!("{name}.{}", self.domain) };
        self.names.entry(address).or_insert_with(|| full.clone());
        for name in [name, full] {
            let addresses = self.addresses.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    /// Answers a query, or decides who should.
    pub(crate) fn answer(&self, question: &[u8]) -> Answer {
        let Ok(question) = Message::from_vec(question) else { return Answer::Nothing };
        if question.metadata.message_type != MessageType::Query {
            return Answer::Nothing;
        }
        let mut reply = reply_to(&question);
        match (question.metadata.op_code, &question.queries[..]) {
            (OpCode::Query, [query]) if query.query_class() == DNSClass::IN => match self.look_up(query) {
                Known::Records(data) => self.add_records(&mut reply, query, data),
                Known::Missing => self.deny(&mut reply, ResponseCode::NXDomain),
                Known::Foreign if self.internet => return Answer::Forward,
                // Not REFUSED, because resolvers retry those, and a lab without internet should fail fast.
                Known::Foreign => reply.metadata.response_code = ResponseCode::NXDomain,
            },
            (OpCode::Query, [_]) => reply.metadata.response_code = ResponseCode::Refused,
            (OpCode::Query, _) => reply.metadata.response_code = ResponseCode::FormErr,
            _ => reply.metadata.response_code = ResponseCode::NotImp,
        }
        reply.to_vec().map_or(Answer::Nothing, Answer::Reply)
    }

    fn look_up(&self, query: &Query) -> Known {
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if name.ends_with(".in-addr.arpa") || name.ends_with(".ip6.arpa") {
            return match query.name().parse_arpa_name() {
                Ok(net) if self.is_inside(net) => self.reverse(net),
                _ => Known::Foreign,
            };
        }
        let addresses = self.addresses.get(&name);
        if name == self.domain || addresses.is_some() {
            // A node may be called like the domain.
            let of_the_zone = if name == self.domain { self.of_the_zone() } else { Vec::new() };
            let of_the_node = addresses.into_iter().flatten().map(|address| match address {
                IpAddr::V4(address) => RData::A((*address).into()),
                IpAddr::V6(address) => RData::AAAA((*address).into()),
            });
            let wanted = |data: &RData| [data.record_type(), RecordType::ANY].contains(&query.query_type());
            return Known::Records(of_the_node.chain(of_the_zone).filter(wanted).collect());
        }
        let below = format!(".{name}");
        if self.addresses.keys().any(|known| known.ends_with(&below)) {
            return Known::Records(Vec::new());
        }
        // Names without a dot are not forwarded either.
        if name.ends_with(&format!(".{}", self.domain)) || (!name.contains('.') && !name.is_empty()) {
            return Known::Missing;
        }
        Known::Foreign
    }

    /// Whether the lab alone knows the names of these addresses. Nobody outside knows those of unique local ones (RFC 6303, 4.4).
    fn is_inside(&self, net: IpNet) -> bool {
        match net {
            IpNet::V4(net) => self.subnet.contains(&net),
            IpNet::V6(net) => net.prefix_len() >= 8 && net.addr().octets()[0] == 0xfd,
        }
    }

    fn reverse(&self, net: IpNet) -> Known {
        if net.prefix_len() < net.max_prefix_len() {
            return Known::Records(Vec::new());
        }
        match self.names.get(&net.addr()).and_then(|name| Name::from_ascii(format!("{name}.")).ok()) {
            Some(name) => Known::Records(vec![RData::PTR(PTR(name))]),
            None => Known::Missing,
        }
    }

    fn add_records(&self, reply: &mut Message, query: &Query, data: Vec<RData>) {
        if data.is_empty() {
            return self.deny(reply, ResponseCode::NoError);
        }
        reply.metadata.authoritative = true;
        for data in data {
            reply.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
        }
    }

    fn deny(&self, reply: &mut Message, code: ResponseCode) {
        reply.metadata.authoritative = true;
        reply.metadata.response_code = code;
        if let Some((zone, server)) = self.zone() {
            reply.add_authority(Record::from_rdata(zone, TTL, start_of(server)));
        }
    }

    /// The records of the zone's own name.
    fn of_the_zone(&self) -> Vec<RData> {
        self.zone().map(|(_, server)| vec![start_of(server.clone()), RData::NS(NS(server))]).unwrap_or_default()
    }

    /// The names of the zone and of its name server.
    fn zone(&self) -> Option<(Name, Name)> {
        let zone = Name::from_ascii(format!("{}.", self.domain)).ok()?;
        let server = zone.prepend_label("gateway").ok()?;
        Some((zone, server))
    }
}

/// The start of authority of the zone served by `server` (RFC 1035, 3.3.13).
fn start_of(server: Name) -> RData {
    RData::SOA(SOA::new(server.clone(), server, 1, 3600, 600, 86400, TTL))
}

fn reply_to(question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&question.metadata);
    reply.metadata.recursion_available = true;
    // Only one is answered. A guest could make a reply with many others much longer than its question, and longer than a datagram can be.
    if let [query] = &question.queries[..] {
        reply.add_query(query.clone());
    }
    if question.edns.is_some() {
        // A response to a query with EDNS must include EDNS too (RFC 6891, 6.1.1).
        reply.set_edns(hickory_proto::op::Edns::new());
    }
    reply
}

/// The response when no name server could be reached.
fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let mut reply = reply_to(&Message::from_vec(question).ok()?);
    reply.metadata.response_code = ResponseCode::ServFail;
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests;
