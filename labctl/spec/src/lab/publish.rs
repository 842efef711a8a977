//! Published ports: `8500`, or `"8080:80"`.

use std::collections::BTreeSet;

use super::{Publish, PublishFile};
use crate::report::Report;

/// The ports of the `nodes` entry at `at`.
pub(super) fn publish(written: &[PublishFile], at: &str, report: &mut Report) -> Vec<Publish> {
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    let mut ports = Vec::new();
    for (position, port) in written.iter().enumerate() {
        let at = format!("{at}/publish/{position}");
        match parse(port) {
            Err((reason, hint)) => report.add(&at, reason, hint),
            Ok(publish) => {
                if !taken.insert(publish.host) {
                    let reason = format!("host port {} is published twice", publish.host);
                    report.add(&at, reason, "remove one, or choose another host port: \"8081:80\"");
                }
                ports.push(publish);
            }
        }
    }
    ports
}

fn parse(written: &PublishFile) -> Result<Publish, (String, String)> {
    let hint = || "write a node port such as 8500, or \"HOST:NODE\" such as \"8080:80\"".to_owned();
    let (host, node) = match written {
        PublishFile::Same(port) => (*port, *port),
        PublishFile::Mapped(text) => {
            let bad = || (format!("`{text}` is not a port"), hint());
            if text.ends_with("/udp") {
                return Err((format!("`{text}`: only TCP ports are published"), hint()));
            }
            let (host, node) = text.split_once(':').unwrap_or((text, text));
            if node.contains(':') {
                let reason = format!("`{text}` names an address");
                let hint = "leave the address out: every node has a loopback address of its own on the host";
                return Err((reason, hint.to_owned()));
            }
            let port = |text: &str| {
                let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
                if !plain {
                    return Err(bad());
                }
                text.parse::<u16>().map_err(|_| (format!("{text} is out of range"), "allowed: 1 to 65535".to_owned()))
            };
            (port(host)?, port(node)?)
        }
    };
    if host == 0 || node == 0 {
        return Err(("0 is out of range".to_owned(), "allowed: 1 to 65535".to_owned()));
    }
    Ok(Publish { host, node })
}
