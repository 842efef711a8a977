//! The lab file: which machines exist, how they are connected, named and provisioned.

mod addresses;
mod expand;
pub(crate) mod files;
mod groups;
mod hostnames;
mod moved;
mod network;
mod outside;
mod publish;
mod sync;
#[cfg(test)]
mod tests;
mod user;
mod validate;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

pub use ipnet::{Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ident::{LabName, MacAddr, NodeName};
use crate::load::{self, LoadError};
use crate::mistake::{Mistake, Mistakes};
use crate::proxy::ProxyUrl;
use crate::size::Size;

pub use moved::{BadSubnet, NoPlace, subnet, subnet_of};
pub use publish::spell_ports;
pub use user::{ROOT, User, UserFile};

/// A lab file as written (plain data; see [`Lab`] for the validated form).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabFile {
    /// Name of the lab: lower-case letters, digits, hyphens.
    pub name: LabName,
    /// Image that the nodes boot, by its file name in `images/`; a node may name a different one.
    #[serde(default = "default_image")]
    pub image: String,
    /// The account that people log in with, made in every node; a node may have a different one. Default: root.
    pub user: Option<UserFile>,
    /// Whether `labctl autostart` starts the lab when the host boots or the user logs in; default: false.
    pub autostart: Option<bool>,
    /// The lab's network.
    #[serde(default)]
    pub network: NetworkFile,
    /// Variables of all nodes (Ansible's group `all`).
    #[serde(default)]
    pub variables: Map<String, Value>,
    /// Variables of individual groups, by group name.
    #[serde(default)]
    pub groups: BTreeMap<String, GroupFile>,
    /// The machines.
    #[schemars(length(min = 1))]
    pub nodes: Vec<NodeFile>,
    /// How the nodes are provisioned: Ansible plays, or paths of playbooks next to the lab file.
    #[serde(default)]
    pub provision: Vec<ProvisionFile>,
}

fn default_image() -> String {
    "debian-12".to_owned()
}

/// The lab's network as written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// IPv4 subnet of the lab, such as `10.77.0.0/24`; its first address is the gateway.
    pub subnet: Option<String>,
    /// Domain that is appended to node names inside the lab; default: the lab's name.
    pub domain: Option<String>,
    /// Whether guests reach the internet through the host; default: true.
    pub internet: Option<bool>,
    /// Whether guests reach the host's own loopback services at the gateway's address; default: false.
    pub host_loopback: Option<bool>,
    /// Whether nodes have IPv6 addresses as well, inside the lab only; default: true.
    pub ipv6: Option<bool>,
    /// Proxy through which guests, and labctl when it builds images, reach the web: an address, or one for each scheme.
    pub proxy: Option<ProxyFile>,
    /// Files with certificates (PEM) of authorities that guests trust besides the usual ones, relative to the lab file.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
}

/// A proxy as written: one address, or one for each scheme.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProxyFile {
    /// The proxy for http and https.
    One(String),
    /// A proxy for each scheme.
    Each(ProxiesFile),
}

/// Proxies by scheme, as written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxiesFile {
    /// Proxy for http addresses.
    pub http: Option<String>,
    /// Proxy for https addresses.
    pub https: Option<String>,
    /// Hosts, domains and subnets that are reached without it, besides the lab's own.
    #[serde(default)]
    pub no_proxy: Vec<String>,
}

impl std::fmt::Debug for ProxyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may contain a password.
        f.write_str("ProxyFile")
    }
}

/// A group as written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupFile {
    /// Variables of the group's nodes.
    #[serde(default)]
    pub variables: Map<String, Value>,
}

/// One machine, or `count` identical machines, as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// Name; with `count`, `{index}` in it stands for 1, 2, ... (appended if missing).
    pub name: String,
    /// How many identical machines; without it one, with no index.
    #[schemars(range(min = 1, max = 200))]
    pub count: Option<u32>,
    /// Address in the lab's subnet; with `count`, of the first one. Default: the next free address from .10 on.
    pub address: Option<Ipv4Addr>,
    /// Image; default: the lab's.
    pub image: Option<String>,
    /// Virtual CPUs; default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub cpus: Option<u32>,
    /// Memory; default: 512M.
    pub memory: Option<Size>,
    /// Size of the disk; default: 8G (sparse: only written data takes space).
    pub disk: Option<Size>,
    /// The account that people log in with; default: the lab's.
    pub user: Option<UserFile>,
    /// Additional names of the node, on the host and inside the lab; `{index}` as in `name`.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Groups that the node belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Node ports that the host reaches at the node's own loopback address: `8500`, `8080:80` for host port 8080, `8000-8010`, `53/udp`.
    #[serde(default)]
    pub publish: Vec<PublishFile>,
    /// Files and folders that are copied to the node before it is provisioned.
    #[serde(default)]
    pub sync: Vec<SyncFile>,
    /// Variables of the node.
    #[serde(default)]
    pub variables: Map<String, Value>,
}

/// Published ports as written: `8500`, `"8080:80"`, `8000-8010`, `53/udp`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PublishFile {
    /// The same port on both sides.
    Same(#[schemars(range(min = 1))] u16),
    /// `PORT` or `HOST:NODE`, each a port or a range `FIRST-LAST`, and then `/udp` or `/tcp`.
    Mapped(String),
}

/// A copied file or folder as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncFile {
    /// Path on the host, relative to the lab file.
    pub from: PathBuf,
    /// Absolute path in the guest.
    pub to: PathBuf,
    /// Whether what is not on the host is removed from the guest: `true` removes everything, `false` nothing. Default: what an earlier copy
    /// brought.
    pub delete: Option<bool>,
    /// What is left out, by the rules of a `.gitignore`; so is what `.labctlignore` in the folder names.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Owner in the guest: `USER`, `USER:GROUP` or `:GROUP`, names or numbers. Default: root.
    pub owner: Option<OwnerFile>,
    /// Mode of the files in the guest, such as `"0644"`. Default: as on the host.
    pub mode: Option<ModeFile>,
}

/// An owner as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OwnerFile {
    /// A user's number.
    Number(u32),
    /// Names or numbers.
    Name(String),
}

/// A file's mode as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModeFile {
    /// Without quotes; YAML reads `0644` as octal, `644` as decimal.
    Number(u32),
    /// Octal digits.
    Text(String),
}

/// One step of provisioning as written: a play, or the path of a playbook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProvisionFile {
    /// Path of a playbook, relative to the lab file.
    Playbook(PathBuf),
    /// An inline play; its keys are Ansible's and are checked by the provisioning engine.
    #[schemars(extend("x-keeps-tags" = true))]
    Play(Map<String, Value>),
}

/// Loads a lab file.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read, else every fault in it.
pub fn load_lab(path: &Path) -> Result<Lab, LoadError> {
    Ok(parse_lab(&load::read(path)?, path)?)
}

/// Parses the text of a lab file. Paths in it are relative to `file`'s folder and must exist; `file` itself is not read.
///
/// Defaults: the subnet is one of the 16,384 `/24` of 10.64.0.0/10, chosen by a hash of the lab's name; the domain is the lab's name;
/// addresses are assigned from .10 on; see [`NodeFile`] for the rest.
///
/// # Errors
/// Every fault, in line order.
pub fn parse_lab(text: &str, file: &Path) -> Result<Lab, Mistakes> {
    let (plain, mut report) = load::plain::<LabFile>(text, file)?;
    let lab = plain.map(|plain| validate::lab(plain, file, &mut report));
    report.finish(lab)
}

/// As much of a lab file as could be understood.
#[derive(Debug)]
pub struct Examined {
    /// The lab without its faulty parts: for finding more faults, never for use. None if too little of it is left.
    pub lab: Option<Lab>,
    /// What is wrong, in line order.
    pub faults: Vec<Mistake>,
}

/// Loads a lab file for a caller that looks for faults elsewhere too. A node's image must be one of `images`. The result contains only the
/// provisioning steps without faults of their own.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read.
pub fn examine_lab(path: &Path, images: &[String]) -> Result<Examined, LoadError> {
    let (plain, mut report) = match load::plain::<LabFile>(&load::read(path)?, path) {
        Ok(read) => read,
        Err(Mistakes(faults)) => return Ok(Examined { lab: None, faults }),
    };
    let lab = plain.map(|plain| {
        validate::images(&plain, images, &mut report);
        let mut lab = validate::lab(plain, path, &mut report);
        // Dropping a faulty step would shift the ones after it, and steps are identified by their position.
        if report.is_faulty("/provision") {
            lab.provision.clear();
        }
        let steps = std::mem::take(&mut lab.provision).into_iter().enumerate();
        lab.provision = steps.filter(|(index, _)| !report.has_fault_in(&format!("/provision/{index}"))).map(|(_, step)| step).collect();
        lab
    });
    let faults = report.finish(lab.as_ref()).err().map_or_else(Vec::new, |Mistakes(faults)| faults);
    Ok(Examined { lab, faults })
}

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
