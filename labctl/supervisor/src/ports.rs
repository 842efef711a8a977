//! Published ports: bound before a machine starts, so that a port already in use is detected before anything has changed.

use std::net::SocketAddrV4;
use std::sync::Arc;

use labctl_lab::event::Event;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_net::{Listen, PublishError};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Node, Publish};

use crate::Supervisor;

/// The result of binding a node's ports.
#[derive(Default)]
pub struct Taken {
    /// Those that listen.
    pub bound: Vec<Publish>,
    /// Why the others do not.
    pub refused: Vec<PublishError>,
}

/// Binds the node's ports. One that already listens stays as it is.
pub async fn publish(supervisor: &Arc<Supervisor>, name: &NodeName) -> Taken {
    let record = supervisor.record();
    let mut taken = Taken::default();
    let Ok(node) = record.node(name) else { return taken };
    if let Ok(slot) = supervisor.slot(name) {
        // Ports that the lab file no longer publishes.
        let same = |one: &Publish, other: &Publish| (one.host, one.protocol) == (other.host, other.protocol);
        let gone: Vec<Publish> = slot.published().into_iter().filter(|old| !node.publish.iter().any(|port| same(port, old))).collect();
        unpublish(supervisor, name, &gone).await;
    }
    for port in &node.publish {
        match supervisor.switch.publish(listen(&record, node, port), SocketAddrV4::new(node.address, port.node)).await {
            Ok(()) => taken.bound.push(*port),
            Err(why) => taken.refused.push(why),
        }
    }
    taken
}

/// Binds the ports of these nodes; a port already in use is a failure.
pub async fn publish_all(supervisor: &Arc<Supervisor>, nodes: &[NodeName]) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for name in nodes {
        let taken = publish(supervisor, name).await;
        supervisor.slot(name)?.set_published(taken.bound);
        for why in taken.refused {
            match why {
                PublishError::Privileged { .. } => supervisor.emit(Event::Warning { text: format!("{name}: {why}") }),
                _ => refused.push(format!("{name}: {why}")),
            }
        }
    }
    if !refused.is_empty() {
        return Err(Failure::new(Kind::Host, refused.join("\n"))
            .hint("stop the program that uses the port, or publish the node's port on a different host port: publish: [\"18500:8500\"]"));
    }
    Ok(())
}

/// Closes a node's ports.
pub async fn unpublish(supervisor: &Supervisor, name: &NodeName, ports: &[Publish]) {
    let record = supervisor.record();
    let Ok(node) = record.node(name) else { return };
    for port in ports {
        supervisor.switch.unpublish(listen(&record, node, port)).await;
    }
}

/// Where a node's port is published.
fn listen(record: &Record, node: &Node, port: &Publish) -> Listen {
    Listen { protocol: port.protocol, address: SocketAddrV4::new(record.loopback(node), port.host) }
}
