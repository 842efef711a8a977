//! What labctl stores about a lab: the validated lab file and everything that was chosen once and must not change.

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use labctl_machine::machine::Files;
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::{Ipv4Net, Lab, Node, ROOT, User};
use labctl_wire::{Identity, Neighbour};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::home::{Home, LabHome};
use crate::keys::KeyPair;
use crate::{Failure, Kind, persist};

/// Version of the record's format.
const VERSION: u32 = 1;

/// Second octets that published loopback addresses may have: 127.64.0.0 to 127.254.255.255, clear of 127.0.0.1 and of what distributions
/// use (127.0.1.1, 127.0.0.53).
const LOOPBACK_BLOCKS: std::ops::RangeInclusive<u8> = 64..=254;

/// A lab as stored in `lab.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The lab.
    pub lab: Lab,
    /// The lab that this one is a clone of: it has the same lab file but its own name.
    #[serde(default)]
    pub clone_of: Option<LabName>,
    /// The subnet that replaces the one from the lab file, for a clone that was moved.
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    /// Second octet of the nodes' loopback addresses; no two labs have the same.
    pub loopback_block: u8,
    /// The key with which labctl logs in by SSH.
    pub ssh_key: KeyPair,
    /// Per-node data, including nodes that are no longer in the lab file but still exist.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// Nodes that are no longer in the lab file but still exist, until they are destroyed.
    #[serde(default)]
    pub left: Vec<Node>,
}

/// What was chosen once for a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// UUID of the machine.
    pub uuid: String,
    /// systemd's machine-id.
    pub machine_id: String,
    /// SSH host key.
    pub host_key: KeyPair,
    /// Further SSH host keys, of other kinds. Missing in records of older versions, until the next `up`.
    #[serde(default)]
    pub more_host_keys: Vec<KeyPair>,
    /// Number in the names of its sockets. It stays the same when the node's position in the lab file changes; otherwise another node's
    /// machine might already listen on its sockets. None in records from older versions, which named sockets by position.
    #[serde(default)]
    pub place: Option<u32>,
}

impl NodeRecord {
    fn new(name: &NodeName, place: u32) -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let (uuid, machine_id) = bytes.split_at_mut(16);
        // RFC 9562: version 4, variant 10.
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let uuid = hex::encode(uuid);
        let parts = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]];
        Ok(Self {
            uuid: parts.join("-"),
            machine_id: hex::encode(machine_id),
            host_key: KeyPair::generate(&format!("root@{name}"))?,
            more_host_keys: Vec::new(),
            place: Some(place),
        })
    }
}

impl Record {
    /// Reads a lab's record; none if the lab was never brought up.
    pub fn load(home: &LabHome) -> Result<Option<Self>, Failure> {
        persist::read_json(&home.record())
    }

    /// The record for `lab`: the stored one, updated, or a new one. Fails if the lab would conflict with another.
    pub fn prepare(home: &Home, lab: Lab) -> Result<Self, Failure> {
        let own = home.lab(&lab.name);
        let others = others(home, &lab.name);
        let kept = Self::load(&own)?;
        if let Some(kept) = &kept
            && kept.lab.file != lab.file
            && kept.lab.file.exists()
        {
            let message = format!("a lab named `{}` already exists; it comes from {}", lab.name, kept.lab.file.display());
            return Err(Failure::new(Kind::Conflict, message)
                .hint(format!("give this one another `name`, or remove the other: labctl --lab {} destroy", kept.lab.file.display())));
        }
        let clone_of = kept.as_ref().and_then(|kept| kept.clone_of.as_ref());
        if let Some(other) =
            others.iter().find(|other| overlap(other.lab.network.subnet, lab.network.subnet) && !are_alike(other, &lab, clone_of))
        {
            let message = format!(
                "{}: network.subnet: {} overlaps with {} of lab `{}`",
                lab.file.display(),
                lab.network.subnet,
                other.lab.network.subnet,
                other.lab.name
            );
            return Err(Failure::new(Kind::Conflict, message).hint("choose another subnet, or destroy the other lab"));
        }
        let mut record = match kept {
            Some(mut kept) => {
                kept.settle_places();
                let gone = |node: &Node| lab.node(&node.name).is_none() && own.node(&node.name).exists();
                let left = kept.left.into_iter().chain(kept.lab.nodes).filter(gone).collect();
                Self { lab, left, nodes: kept.nodes, ..kept }
            }
            None => Self {
                version: VERSION,
                clone_of: None,
                subnet: None,
                loopback_block: free_block(&others)?,
                ssh_key: KeyPair::generate(&format!("labctl@{}", lab.name))?,
                nodes: BTreeMap::new(),
                left: Vec::new(),
                lab,
            },
        };
        for node in &record.lab.nodes {
            if !record.nodes.contains_key(&node.name) {
                let place = free_place(&record.nodes);
                record.nodes.insert(node.name.clone(), NodeRecord::new(&node.name, place)?);
            }
        }
        Ok(record)
    }

    /// The lab's nodes that have only the first of their SSH host keys.
    pub fn lacking_host_keys(&self) -> Vec<NodeName> {
        let lacks = |node: &&Node| self.nodes.get(&node.name).is_none_or(|kept| kept.more_host_keys.is_empty());
        self.lab.nodes.iter().filter(lacks).map(|node| node.name.clone()).collect()
    }

    /// Gives nodes in an older version's record the places that they had.
    fn settle_places(&mut self) {
        for node in &self.lab.nodes {
            if let Some(kept) = self.nodes.get_mut(&node.name) {
                kept.place.get_or_insert(node.position);
            }
        }
    }

    /// All nodes that may exist: those in the lab file, then those no longer in it.
    pub fn existing(&self) -> impl Iterator<Item = &Node> {
        self.lab.nodes.iter().chain(&self.left)
    }

    /// The lab including the nodes that are no longer in its file, for commands that act on everything that exists.
    #[must_use]
    pub fn existing_lab(&self) -> Lab {
        Lab { nodes: self.existing().cloned().collect(), ..self.lab.clone() }
    }

    /// Sockets and files of a node's machine.
    pub fn files(&self, home: &LabHome, node: &Node) -> Files {
        let place = self.nodes.get(&node.name).and_then(|kept| kept.place).unwrap_or(node.position);
        Files::new(home.sockets(), place, &home.node(&node.name))
    }

    /// A copy of this lab with another name and its own loopback addresses; in `subnet` if given, else with the same internal addresses.
    pub fn cloned(&self, home: &Home, name: &LabName, subnet: Option<Ipv4Net>) -> Result<Self, Failure> {
        let clone_of = Some(self.clone_of.clone().unwrap_or_else(|| self.lab.name.clone()));
        let subnet = subnet.or(self.subnet);
        let lab = Lab { name: name.clone(), ..moved(self.lab.clone(), subnet)? };
        Ok(Self { loopback_block: free_block(&others(home, name))?, lab, clone_of, subnet, left: Vec::new(), ..self.clone() })
    }

    /// What the lab file `lab` means for this lab: a clone has its own name, and its own addresses if it was moved.
    pub fn own_lab(&self, lab: Lab) -> Result<Lab, Failure> {
        Ok(Lab { name: self.lab.name.clone(), ..moved(lab, self.subnet)? })
    }

    /// The same record for another version of the lab file.
    #[must_use]
    pub fn with_lab(self, lab: Lab) -> Self {
        Self { lab, ..self }
    }

    /// This record with the lab file path and loopback addresses of another record, and its subnet if that one was moved.
    pub fn in_place_of(mut self, own: &Self) -> Result<Self, Failure> {
        self.loopback_block = own.loopback_block;
        self.clone_of = own.clone_of.clone();
        self.subnet = own.subnet;
        self.lab.file = own.lab.file.clone();
        let before = self.lab.network.subnet;
        self.lab = own.own_lab(self.lab)?;
        if self.lab.network.subnet != before {
            // Its `left` nodes come from a different lab and have that lab's addresses.
            self.left = own.left.clone();
        }
        Ok(self)
    }

    /// Writes the record.
    pub fn save(&self, home: &LabHome) -> Result<(), Failure> {
        persist::write_json(&home.record(), self)
    }

    /// The node's own loopback address on the host: the lab's block, then the last two octets of the node's address.
    pub fn loopback(&self, node: &Node) -> Ipv4Addr {
        let [_, _, c, d] = node.address.octets();
        Ipv4Addr::new(127, self.loopback_block, c, d)
    }

    /// All names of all nodes with their addresses inside the lab; the canonical name, which is the one with the domain, comes first: it is
    /// what `hostname -f` and reverse lookups show (hosts(5)).
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let entry = |node: &Node| {
            let mut names = names(node);
            if let Some(full) = names.iter().position(|name| name.contains('.')) {
                names[..=full].rotate_right(1);
            }
            Neighbour { address: node.address, address6: self.lab.network.ipv6_of(node.address), names }
        };
        self.lab.nodes.iter().map(entry).collect()
    }

    /// The identity of a node; the caller adds entropy and clock.
    pub fn identity(&self, node: &Node) -> Result<Identity, Failure> {
        let kept = self.nodes.get(&node.name).ok_or_else(|| no_node(&node.name))?;
        // The lab's own key opens every account, so that commands need no other.
        let mut root_keys = vec![self.ssh_key.public.clone()];
        let user = match &node.user {
            Some(root) if root.name == ROOT => {
                root_keys.extend(root.keys.iter().cloned());
                None
            }
            Some(User { name, groups, shell, sudo, keys }) => Some(labctl_wire::User {
                name: name.clone(),
                groups: groups.clone(),
                shell: shell.clone(),
                sudo: *sudo,
                keys: root_keys.iter().chain(keys).cloned().collect(),
            }),
            None => None,
        };
        Ok(Identity {
            hostname: node.name.to_string(),
            domain: self.lab.network.domain.clone(),
            machine_id: kept.machine_id.clone(),
            uuid: kept.uuid.clone(),
            mac: node.mac.to_string(),
            address: Some(node.address),
            prefix: self.lab.network.subnet.prefix_len(),
            address6: self.lab.network.ipv6_of(node.address),
            gateway: Some(self.lab.network.gateway),
            neighbours: self.neighbours(),
            ssh_host_key: kept.host_key.private.clone(),
            ssh_host_key_public: kept.host_key.public.clone(),
            more_host_keys: kept.more_host_keys.iter().map(KeyPair::to_wire).collect(),
            authorized_keys: root_keys,
            user,
            proxy: outside::proxy(&self.lab),
            authorities: outside::authorities(&self.lab),
            entropy: Vec::new(),
            clock_ns: 0,
        })
    }

    /// Who logs in to a node unless another user is named.
    pub fn login(&self, node: &NodeName) -> String {
        self.existing().find(|known| known.name == *node).map_or(ROOT, Node::login).to_owned()
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Result<&Node, Failure> {
        self.existing().find(|node| node.name == *name).ok_or_else(|| {
            let known: Vec<&str> = self.lab.nodes.iter().map(|node| node.name.as_str()).collect();
            no_node(name).hint(format!("the nodes of lab `{}` are: {}", self.lab.name, known.join(", ")))
        })
    }
}

/// The node's names: its own, then those in the lab file, each once.
pub fn names(node: &Node) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = std::iter::once(node.name.to_string()).chain(node.hostnames.iter().cloned());
    all.filter(|name| seen.insert(name.clone())).collect()
}

fn free_place(nodes: &BTreeMap<NodeName, NodeRecord>) -> u32 {
    let taken: BTreeSet<u32> = nodes.values().filter_map(|node| node.place).collect();
    (0..).find(|place| !taken.contains(place)).unwrap_or_default()
}

fn no_node(name: &NodeName) -> Failure {
    Failure::new(Kind::NotFound, format!("there is no node `{name}`"))
}

/// The lab moved to `subnet`, if one is given.
fn moved(lab: Lab, subnet: Option<Ipv4Net>) -> Result<Lab, Failure> {
    match subnet {
        Some(subnet) => lab.in_subnet(subnet).map_err(|why| {
            Failure::new(Kind::Input, why.to_string()).hint(format!(
                "nothing was changed; this lab is a clone with a subnet of its own: make a new clone with `labctl clone ... --subnet {}`",
                why.enough
            ))
        }),
        None => Ok(lab),
    }
}

/// A lab other than `name` whose subnet overlaps with `subnet`, and that subnet.
pub fn overlapping(home: &Home, name: &LabName, subnet: Ipv4Net) -> Option<(LabName, Ipv4Net)> {
    let mut others = others(home, name).into_iter().map(|other| (other.lab.name, other.lab.network.subnet));
    others.find(|(_, theirs)| overlap(*theirs, subnet))
}

fn others(home: &Home, lab: &LabName) -> Vec<Record> {
    let names = home.lab_names().into_iter().filter(|name| name != lab);
    // A lab that cannot be read must not block work on this one.
    names.filter_map(|name| Record::load(&home.lab(&name)).ok().flatten()).collect()
}

/// Whether a lab and another have the same subnet because one is a clone of the other. Each has its own switch, so they never conflict.
fn are_alike(other: &Record, lab: &Lab, clone_of: Option<&LabName>) -> bool {
    other.lab.file == lab.file && (clone_of.is_some() || other.clone_of.is_some())
}

/// Whether two subnets have an address in common.
pub fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn free_block(others: &[Record]) -> Result<u8, Failure> {
    let taken: BTreeSet<u8> = others.iter().map(|other| other.loopback_block).collect();
    LOOPBACK_BLOCKS.into_iter().find(|block| !taken.contains(block)).ok_or_else(|| {
        Failure::new(Kind::Conflict, "there are too many labs on this host").hint("`labctl prune` shows what can be removed")
    })
}
