//! Published ports: bound before a machine starts, so that a port already in use is detected before anything has changed.

use std::net::SocketAddrV4;
use std::sync::Arc;

use labctl_lab::event::Event;
use labctl_lab::{Failure, Kind};
use labctl_net::PublishError;
use labctl_spec::ident::NodeName;

use crate::Supervisor;

/// The result of binding a node's ports.
#[derive(Default)]
pub struct Taken {
    /// Those that listen: host port to node port.
    pub bound: Vec<(u16, u16)>,
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
        let gone: Vec<(u16, u16)> =
            slot.published().into_iter().filter(|(host, _)| node.publish.iter().all(|port| port.host != *host)).collect();
        unpublish(supervisor, name, &gone).await;
    }
    for port in &node.publish {
        let listen = SocketAddrV4::new(record.loopback(node), port.host);
        match supervisor.switch.publish(listen, SocketAddrV4::new(node.address, port.node)).await {
            Ok(()) => taken.bound.push((port.host, port.node)),
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
pub async fn unpublish(supervisor: &Supervisor, name: &NodeName, ports: &[(u16, u16)]) {
    let record = supervisor.record();
    let Ok(node) = record.node(name) else { return };
    for (host, _) in ports {
        supervisor.switch.unpublish(SocketAddrV4::new(record.loopback(node), *host)).await;
    }
}
