//! A guest without a machine: a smoltcp stack behind a unix socket that behaves like QEMU's `stream` backend.
#![allow(dead_code, reason = "each test uses a part")]

mod stack;
mod stream;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_net::{PortConfig, Switch, SwitchConfig};
use labctl_spec::ident::{MacAddr, NodeName};
use labctl_spec::lab::Network;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

pub use stack::Stack;

/// The gateway of the test network.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A fake virtual machine.
pub struct Guest {
    pub name: NodeName,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    pub socket: PathBuf,
    pub stack: Arc<Stack>,
    task: JoinHandle<()>,
}

impl Guest {
    /// Starts guest number `last` (the last byte of its addresses), listening in `directory`.
    pub fn start(directory: &Path, name: &str, last: u8) -> Self {
        let socket = directory.join(format!("{name}.sock"));
        let (mac, address) = ([0x52, 0x54, 0, 0, 0, last], Ipv4Addr::new(10, 77, 0, last));
        let stack = Arc::new(Stack::new(mac, address));
        let listener = UnixListener::bind(&socket).unwrap();
        let task = tokio::spawn(stack.clone().serve(listener));
        Self { name: name.parse().unwrap(), mac, address, socket, stack, task }
    }

    /// Its port at the switch.
    pub fn port(&self) -> PortConfig {
        PortConfig { name: self.name.clone(), mac: MacAddr(self.mac), address: self.address, socket: self.socket.clone() }
    }

    /// Stops the QEMU side: its socket is removed and its connection closed.
    pub async fn unplug(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        std::fs::remove_file(&self.socket).unwrap();
    }

    /// Starts the QEMU side again.
    pub fn plug(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        self.task = tokio::spawn(self.stack.clone().serve(listener));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The test network.
pub fn network() -> Network {
    Network {
        subnet: "10.77.0.0/24".parse().unwrap(),
        gateway: GATEWAY,
        domain: "demo".to_owned(),
        internet: false,
        host_loopback: false,
        ipv6: None,
        proxy: None,
        ca: Vec::new(),
    }
}

/// A switch on the test network with `guests` attached and connected.
pub async fn switch_with(network: Network, guests: &[&Guest]) -> Switch {
    let names = guests.iter().map(|guest| (guest.name.to_string(), guest.address.into())).collect();
    // Nothing listens on the discard port: outside names fail, and nothing leaves the machine.
    let switch = Switch::start(SwitchConfig { network, names, upstream: vec!["127.0.0.1:9".parse().unwrap()] });
    for guest in guests {
        switch.attach(guest.port()).await;
    }
    connected(&switch, guests).await;
    switch
}

/// Waits until the switch is connected to all `guests`.
pub async fn connected(switch: &Switch, guests: &[&Guest]) {
    for guest in guests {
        until(async || switch.counters().await.ports.get(&guest.name).is_some_and(|port| port.connected)).await;
    }
}

/// Waits for a condition for at most 20 s.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let patience = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    patience.await.expect("the condition came true in time");
}
