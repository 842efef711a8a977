//! Runs a switch for QEMUs that were started by hand: `serve NAME=MAC=ADDRESS=SOCKET...` on 10.77.0.0/24, domain
//! `demo`, the host's loopback reachable at 10.77.0.1, port 80 of each node published at 127.77.0.N:18080. Exits at end
//! of input.

use std::net::SocketAddrV4;

use labctl_net::{Listen, PortConfig, Switch, SwitchConfig};
use labctl_spec::ident::MacAddr;
use labctl_spec::lab::{Network, Protocol};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ports = Vec::new();
    for word in std::env::args().skip(1) {
        let parts: Vec<&str> = word.split('=').collect();
        let [name, mac, address, socket] = parts[..] else {
            return Err(format!("`{word}`: NAME=MAC=ADDRESS=SOCKET").into());
        };
        ports.push(PortConfig {
            name: name.parse()?,
            mac: MacAddr::try_from(mac.to_owned())?,
            address: address.parse()?,
            socket: socket.into(),
        });
    }
    let network = Network {
        subnet: "10.77.0.0/24".parse()?,
        gateway: "10.77.0.1".parse()?,
        domain: "demo".to_owned(),
        internet: false,
        host_loopback: true,
        ipv6: None,
        proxy: None,
        ca: Vec::new(),
    };
    let names = ports.iter().map(|port| (port.name.to_string(), port.address.into())).collect();
    let switch = Switch::start(SwitchConfig { network, names, upstream: Vec::new() });
    for port in ports {
        let [.., last] = port.address.octets();
        switch
            .publish(
                Listen { protocol: Protocol::Tcp, address: SocketAddrV4::new([127, 77, 0, last].into(), 18080) },
                SocketAddrV4::new(port.address, 80),
            )
            .await?;
        switch.attach(port).await;
    }
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    println!("{:#?}", switch.counters().await);
    switch.shutdown().await;
    Ok(())
}
