//! A lab file as written: plain data, nothing checked but the names of keys and the kinds of values.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::user::UserFile;
use crate::ident::LabName;
use crate::size::Size;

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
