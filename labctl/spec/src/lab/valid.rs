//! A validated lab: what everything else works with, and what is kept in its record.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::user::{ROOT, User};
use crate::ident::{LabName, MacAddr, NodeName};
use crate::proxy::ProxyUrl;
use crate::size::Size;

/// A validated lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lab {
    /// Name.
    pub name: LabName,
    /// Absolute path of the lab file.
    pub file: PathBuf,
    /// Whether it is started when the host boots or the user logs in.
    #[serde(default)]
    pub autostart: bool,
    /// The network.
    pub network: Network,
    /// The nodes in file order, `count` expanded.
    pub nodes: Vec<Node>,
    /// Variables of all nodes.
    pub variables: Map<String, Value>,
    /// Variables by group, for the groups that have any.
    pub group_variables: BTreeMap<String, Map<String, Value>>,
    /// Provisioning steps, in order.
    pub provision: Vec<Provision>,
}

/// A validated network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The lab's subnet.
    pub subnet: Ipv4Net,
    /// The switch's own address: gateway and name server of the guests; the subnet's first.
    pub gateway: Ipv4Addr,
    /// Domain of the node names.
    pub domain: String,
    /// Whether guests reach the internet.
    pub internet: bool,
    /// Whether guests reach the host's loopback at the gateway's address.
    pub host_loopback: bool,
    /// The prefix of the nodes' IPv6 addresses, a /64 (RFC 4193); none without IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// The proxy, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Certificate authorities that guests trust besides the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<Authority>,
}

/// A validated proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// For http.
    pub http: Option<ProxyUrl>,
    /// For https.
    pub https: Option<ProxyUrl>,
    /// Hosts, domains and subnets that are reached directly, without the lab's own.
    pub no_proxy: Vec<String>,
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its file's name without extension: ASCII letters, digits, `-` and `_`; unique in the lab.
    pub name: String,
    /// Its certificates in PEM.
    pub pem: String,
}

/// A validated node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name, unique in the lab.
    pub name: NodeName,
    /// Position in the lab, from 0.
    pub position: u32,
    /// Address in the lab's subnet.
    pub address: Ipv4Addr,
    /// Ethernet address, derived from the lab's name and the node's.
    pub mac: MacAddr,
    /// Name of the image.
    pub image: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// Size of the disk.
    pub disk: Size,
    /// The account that people log in with, if it is not just root.
    #[serde(default)]
    pub user: Option<User>,
    /// All names besides `name`: `name.domain` first, then those from the file.
    pub hostnames: Vec<String>,
    /// Groups, without `all`.
    pub groups: Vec<String>,
    /// Published ports.
    pub publish: Vec<Publish>,
    /// Files to copy.
    pub sync: Vec<Sync>,
    /// Variables of the node.
    pub variables: Map<String, Value>,
}

/// A validated published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// Port on the node's loopback address on the host.
    pub host: u16,
    /// Port of the node.
    pub node: u16,
    /// The protocol of both.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A validated copy; `from` exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// Absolute path on the host.
    pub from: PathBuf,
    /// Absolute path in the guest.
    pub to: PathBuf,
    /// Whether what is not on the host is removed from the guest; if not given, only what an earlier copy brought.
    #[serde(default)]
    pub delete: Option<bool>,
    /// Valid lines of a `.gitignore`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Owner: `USER`, `USER:GROUP` or `:GROUP`.
    #[serde(default)]
    pub owner: Option<String>,
    /// Permission bits of the files.
    #[serde(default)]
    pub mode: Option<u32>,
}

/// A validated provisioning step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Provision {
    /// Absolute path of a playbook that exists.
    Playbook(PathBuf),
    /// An inline play of the lab file: entry `index` (from 0) of its `provision` list. The provisioning engine reads it from the file again
    /// to get the line numbers of its tasks.
    InLabFile {
        /// Position in the `provision` list, from 0.
        index: usize,
    },
}

impl Network {
    /// The IPv6 address of the node with that IPv4 address: the host part is the same.
    pub fn ipv6_of(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let host = u32::from(address).wrapping_sub(u32::from(self.subnet.network()));
        self.ipv6.map(|prefix| Ipv6Addr::from(u128::from(prefix.network()) | u128::from(host)))
    }

    /// Whether guests of one can stay when it becomes the other: everything else is applied while they run.
    pub fn is_same_wire(&self, other: &Self) -> bool {
        let wire = |network: &Self| (network.subnet, network.gateway, network.internet, network.host_loopback);
        wire(self) == wire(other) && self.domain == other.domain
    }
}

impl Node {
    /// Who logs in unless another user is named.
    pub fn login(&self) -> &str {
        self.user.as_ref().map_or(ROOT, |user| &user.name)
    }
}

impl Lab {
    /// Node names by group, `all` included.
    pub fn groups(&self) -> BTreeMap<String, Vec<NodeName>> {
        let mut groups: BTreeMap<String, Vec<NodeName>> = BTreeMap::new();
        for node in &self.nodes {
            groups.entry("all".to_owned()).or_default().push(node.name.clone());
            for group in &node.groups {
                groups.entry(group.clone()).or_default().push(node.name.clone());
            }
        }
        groups
    }

    /// The node with that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }
}
