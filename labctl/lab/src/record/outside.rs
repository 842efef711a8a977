//! How a lab's guests reach the outside, in the agent's words.

use labctl_spec::lab::Lab;
use labctl_spec::proxy::ProxyUrl;
use labctl_wire::{Authority, Proxy};

use super::names;

/// The proxy, with everything that must not go through it: what the lab file lists, the machine itself, and the lab's names and addresses.
pub(super) fn proxy(lab: &Lab) -> Option<Proxy> {
    let proxy = lab.network.proxy.as_ref()?;
    let network = &lab.network;
    // The host's loopback is at the gateway's address.
    let url = |url: &Option<ProxyUrl>| match url {
        Some(url) if url.is_loopback() => url.at(network.gateway.into()).secret().to_owned(),
        Some(url) => url.secret().to_owned(),
        None => String::new(),
    };
    let mut direct = proxy.no_proxy.clone();
    direct.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    // Most programs take a domain with a dot before it, some only without; few understand subnets, so each address is listed as well.
    direct.extend([format!(".{}", network.domain), network.domain.clone(), network.subnet.to_string(), network.gateway.to_string()]);
    direct.extend(network.ipv6.map(|prefix| prefix.to_string()));
    for node in &lab.nodes {
        direct.push(node.address.to_string());
        direct.extend(network.ipv6_of(node.address).map(|address| address.to_string()));
        let within = format!(".{}", network.domain);
        direct.extend(names(node).into_iter().filter(|name| !name.ends_with(&within)));
    }
    let mut seen = std::collections::BTreeSet::new();
    direct.retain(|entry| seen.insert(entry.clone()));
    Some(Proxy { http: url(&proxy.http), https: url(&proxy.https), no_proxy: direct.join(",") })
}

/// The certificate authorities that guests trust besides those of their images.
pub(super) fn authorities(lab: &Lab) -> Vec<Authority> {
    lab.network.ca.iter().map(|ca| Authority { name: ca.name.clone(), pem: ca.pem.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_belongs_to_the_lab_is_reached_directly() {
        let text = "name: t\nnetwork: {subnet: 10.5.0.0/24, ipv6: false, domain: t.test, proxy: {http: 'http://p:3128', no_proxy: [.corp]}}\n\
                    nodes: [{name: a, hostnames: [www.lan, x.t.test]}]\n";
        let lab = labctl_spec::parse_lab(text, Path::new("/nowhere/lab.yml")).unwrap();
        let proxy = proxy(&lab).unwrap();
        assert_eq!(proxy.no_proxy, ".corp,localhost,127.0.0.1,::1,.t.test,t.test,10.5.0.0/24,10.5.0.1,10.5.0.10,a,www.lan");
        let names: Vec<&str> = proxy.environment().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"]);
        let without = labctl_spec::parse_lab("name: t\nnodes: [{name: a}]\n", Path::new("/nowhere/lab.yml")).unwrap();
        assert_eq!(super::proxy(&without), None);
    }
}
