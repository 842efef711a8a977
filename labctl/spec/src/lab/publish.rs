//! Published ports: `8500`, `"8080:80"`, `8000-8010`, `53/udp`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use super::{Protocol, Publish, PublishFile};
use crate::report::Report;

/// Limit on the ports of one range: each is a socket on the host.
const MOST_PORTS: usize = 256;

const HINT: &str = "write a node port such as 8500, \"HOST:NODE\" such as \"8080:80\", a range such as 8000-8010, or 53/udp";

const PORTS: &str = "allowed: 1 to 65535";

/// The ports of the `nodes` entry at `at`.
pub(super) fn publish(written: &[PublishFile], at: &str, report: &mut Report) -> Vec<Publish> {
    let mut taken: BTreeSet<(Protocol, u16)> = BTreeSet::new();
    let mut ports = Vec::new();
    for (position, port) in written.iter().enumerate() {
        let at = format!("{at}/publish/{position}");
        match parse(port) {
            Err((reason, hint)) => report.add(&at, reason, hint),
            Ok(published) => {
                let twice: Vec<Publish> = published.iter().filter(|port| !taken.insert((port.protocol, port.host))).copied().collect();
                if let Some(first) = twice.first() {
                    let suffix = first.protocol.suffix();
                    let reason = format!("host port {}{suffix} is published twice", first.host);
                    report.add(&at, reason, format!("remove one, or choose another host port: \"8081:80{suffix}\""));
                }
                ports.extend(published);
            }
        }
    }
    ports
}

/// What is wrong, and a hint.
type Fault = (String, String);

fn parse(written: &PublishFile) -> Result<Vec<Publish>, Fault> {
    let text = match written {
        PublishFile::Same(port) => &port.to_string(),
        PublishFile::Mapped(text) => text,
    };
    let (ports, protocol) = match text.split_once('/') {
        None => (text.as_str(), Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err((format!("`{text}`: `{other}` is not a protocol"), "allowed: tcp, udp".to_owned())),
    };
    let (host, node) = ports.split_once(':').unwrap_or((ports, ports));
    if node.contains(':') {
        let hint = "leave the address out: every node has a loopback address of its own on the host";
        return Err((format!("`{text}` names an address"), hint.to_owned()));
    }
    let (host, node) = (range(host, text)?, range(node, text)?);
    if host.len() != node.len() {
        let count = |ports: usize| format!("{ports} port{}", if ports == 1 { "" } else { "s" });
        let reason = format!("`{text}`: {} on the host and {} on the node do not fit", count(host.len()), count(node.len()));
        return Err((reason, "give both ranges the same length, as in \"9000-9010:8000-8010\"".to_owned()));
    }
    if host.len() > MOST_PORTS {
        return Err((format!("`{text}` has {} ports", host.len()), format!("a range may have up to {MOST_PORTS}")));
    }
    Ok(host.zip(node).map(|(host, node)| Publish { host, node, protocol }).collect())
}

/// `8000` or `8000-8010`.
fn range(ports: &str, text: &str) -> Result<RangeInclusive<u16>, Fault> {
    let port = |text: &str, whole: &str| {
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit()) {
            return Err((format!("`{whole}` is not a port"), HINT.to_owned()));
        }
        text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| (format!("{text} is out of range"), PORTS.to_owned()))
    };
    let Some((first, last)) = ports.split_once('-') else {
        let only = port(ports, text)?;
        return Ok(only..=only);
    };
    let (first, last) = (port(first, text)?, port(last, text)?);
    if first > last {
        return Err((format!("`{text}`: the range {first}-{last} is empty"), format!("write {last}-{first}")));
    }
    Ok(first..=last)
}

impl Protocol {
    /// What is written after a port: nothing for TCP.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "/udp",
        }
    }
}

impl Publish {
    /// Whether `next` continues a range.
    fn goes_on_with(&self, next: &Self) -> bool {
        let follows = |one: u16, other: u16| one.checked_add(1) == Some(other);
        self.protocol == next.protocol && follows(self.host, next.host) && follows(self.node, next.node)
    }
}

/// Writes ports as in a lab file, consecutive ones as ranges.
pub fn spell_ports(ports: &[Publish]) -> String {
    ports.chunk_by(Publish::goes_on_with).map(|range| Range(range).to_string()).collect::<Vec<_>>().join(",")
}

struct Range<'a>(&'a [Publish]);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, ..] = self.0 else { return Ok(()) };
        let last = self.0.last().unwrap_or(first);
        let range = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
        write!(f, "{}", range(first.host, last.host))?;
        if first.host != first.node {
            write!(f, ":{}", range(first.node, last.node))?;
        }
        f.write_str(first.protocol.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<Publish> {
        parse(&PublishFile::Mapped(text.to_owned())).expect(text)
    }

    #[test]
    fn ports_are_spelt_as_they_are_written() {
        for text in ["8500", "8080:80", "53/udp", "5353:53/udp", "8000-8010", "9000-9010:8000-8010/udp"] {
            assert_eq!(spell_ports(&ports(text)), text);
        }
        assert_eq!(ports("80/tcp"), ports("80"));
        assert_eq!(ports("8000-8010").len(), 11);
        let mixed = [ports("80"), ports("81/udp"), ports("82-83:92-93"), ports("84")].concat();
        assert_eq!(spell_ports(&mixed), "80,81/udp,82-83:92-93,84");
        assert_eq!(spell_ports(&[]), "");
    }
}
