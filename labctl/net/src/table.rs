//! Maps Ethernet addresses to ports.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use labctl_spec::ident::NodeName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::command::PortConfig;
use crate::frame::{Frame, Mac};
use crate::place::{GATEWAY, Place, Run};
use crate::port;
use crate::queue::PortQueue;

/// Limit on learned addresses; beyond it all are forgotten and learned again.
const MOST_LEARNED: usize = 4096;

/// One node's port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) queue: Arc<PortQueue>,
    /// Frames of the current round, queued together at its end.
    pub(crate) outgoing: Vec<Frame>,
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    task: Option<JoinHandle<()>>,
}

impl Port {
    fn start(config: PortConfig, place: Place, ingress: mpsc::Sender<Run>) -> Self {
        let queue = Arc::new(PortQueue::default());
        let socket: Arc<Path> = Arc::from(config.socket.as_path());
        let task = tokio::spawn(port::run(socket, place, queue.clone(), ingress));
        Self { config, queue, outgoing: Vec::new(), frames_in: 0, bytes_in: 0, task: Some(task) }
    }

    /// Stops the port. Its connection is closed once the task has ended.
    pub(crate) fn stop(mut self) -> Option<JoinHandle<()>> {
        let task = self.task.take();
        task.iter().for_each(JoinHandle::abort);
        task
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// Ports and addresses.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Every node name ever seen, indexed by place minus one. A detached node keeps its place, and so do its edges.
    names: Vec<NodeName>,
    ports: HashMap<Place, Port>,
    own: HashMap<Mac, Place>,
    learned: HashMap<Mac, Place>,
}

impl Table {
    /// The place of a node.
    pub(crate) fn place(&mut self, name: &NodeName) -> Place {
        let index = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        });
        // There are fewer nodes than addresses in a subnet.
        Place(index as u32 + 1)
    }

    /// The node at a place; `None` for the gateway.
    pub(crate) fn name(&self, place: Place) -> Option<&NodeName> {
        self.names.get((place.0 as usize).checked_sub(1)?)
    }

    /// Adds a port unless it already exists. Returns the port that it replaces, if any.
    pub(crate) fn attach(&mut self, config: PortConfig, ingress: &mpsc::Sender<Run>) -> Option<Port> {
        let place = self.place(&config.name);
        if self.ports.get(&place).is_some_and(|port| port.config == config) {
            return None;
        }
        let replaced = self.detach(place);
        self.learned.remove(&config.mac.0);
        self.own.insert(config.mac.0, place);
        self.ports.insert(place, Port::start(config, place, ingress.clone()));
        replaced
    }

    /// Removes a port and forgets its addresses.
    pub(crate) fn detach(&mut self, place: Place) -> Option<Port> {
        let port = self.ports.remove(&place)?;
        self.own.retain(|_, owner| *owner != place);
        self.learned.retain(|_, owner| *owner != place);
        Some(port)
    }

    /// The port at a place.
    pub(crate) fn port(&mut self, place: Place) -> Option<&mut Port> {
        self.ports.get_mut(&place)
    }

    /// All ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (Place, &Port)> {
        self.ports.iter().map(|(place, port)| (*place, port))
    }

    /// Queues this round's frames for each port.
    pub(crate) fn flush(&mut self) {
        for port in self.ports.values_mut().filter(|port| !port.outgoing.is_empty()) {
            port.queue.push(&mut port.outgoing);
        }
    }

    /// Removes all ports.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Port> {
        std::mem::take(&mut self.ports).into_values()
    }

    /// Learns where an address that no node owns was seen: bridges and containers in guests have such addresses.
    pub(crate) fn learn(&mut self, mac: Mac, place: Place) {
        let group = mac[0] & 1 == 1;
        if place == GATEWAY || group || self.own.contains_key(&mac) {
            return;
        }
        if self.learned.len() >= MOST_LEARNED {
            self.learned.clear();
        }
        self.learned.insert(mac, place);
    }

    /// The port of an address.
    pub(crate) fn find(&self, mac: Mac) -> Option<Place> {
        self.own.get(&mac).or_else(|| self.learned.get(&mac)).copied()
    }
}
