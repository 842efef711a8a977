//! Published ports: bound before a machine starts, so that a taken one is known while nothing has changed yet.

use std::net::SocketAddrV4;
use std::sync::Arc;

use labctl_net::PublishError;
use labctl_spec::ident::NodeName;

use super::Supervisor;

/// What became of a node's ports.
#[derive(Default)]
pub struct Taken {
    /// Those that listen: host port to node port.
    pub bound: Vec<(u16, u16)>,
    /// Why others do not.
    pub refused: Vec<PublishError>,
}

/// Makes the node's ports listen. One that listens already stays as it is.
pub async fn publish(supervisor: &Arc<Supervisor>, name: &NodeName) -> Taken {
    let record = supervisor.record();
    let mut taken = Taken::default();
    let Ok(node) = record.node(name) else { return taken };
    if let Ok(slot) = supervisor.slot(name) {
        // What the lab file no longer publishes.
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

/// Closes a node's ports.
pub async fn unpublish(supervisor: &Supervisor, name: &NodeName, ports: &[(u16, u16)]) {
    let record = supervisor.record();
    let Ok(node) = record.node(name) else { return };
    for (host, _) in ports {
        supervisor.switch.unpublish(SocketAddrV4::new(record.loopback(node), *host)).await;
    }
}
