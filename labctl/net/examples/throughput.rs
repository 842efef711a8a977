//! Measures the switch with guests that are smoltcp stacks in the same process: guest to guest, guest to host through
//! the uplink, host to guest through a published port, and ping time. Everything shares the process's cores, so these
//! are lower bounds. Run: `cargo run -p labctl-net --example throughput`.

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use guest::{GATEWAY, Guest, network, switch_with};
use labctl_net::Listen;
use labctl_spec::lab::{Network, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes per transfer.
const AMOUNT: usize = 256 << 20;

fn report(what: &str, took: Duration) {
    println!("{what}: {:.0} Mbit/s", AMOUNT as f64 * 8.0 / 1e6 / took.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    let switch = switch_with(Network { host_loopback: true, ..network() }, &[&one, &two]).await;
    let chunk = vec![7u8; 1 << 20];

    one.stack.ping(two.address, b"learn the addresses").await;
    let start = Instant::now();
    for _ in 0..1000 {
        one.stack.ping(two.address, &[0; 56]).await;
    }
    println!("ping guest to guest: {:?}", start.elapsed() / 1000);

    let server = two.stack.listen(80);
    let client = one.stack.connect(SocketAddrV4::new(two.address, 80)).await.expect("a connection");
    let start = Instant::now();
    let sending = async {
        for _ in 0..AMOUNT >> 20 {
            client.write(&chunk).await.expect("sent");
        }
    };
    let receiving = async {
        let (mut got, mut room) = (0, vec![0; 256 << 10]);
        while got < AMOUNT {
            got += server.read(&mut room).await.expect("received");
        }
    };
    tokio::join!(sending, receiving);
    report("guest to guest", start.elapsed());

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let stream = one.stack.connect(SocketAddrV4::new(GATEWAY, port)).await.expect("a connection");
    let (mut host, _) = listener.accept().await.expect("accepted");
    let start = Instant::now();
    let sending = async {
        for _ in 0..AMOUNT >> 20 {
            stream.write(&chunk).await.expect("sent");
        }
    };
    let receiving = async {
        let (mut got, mut room) = (0, vec![0; 256 << 10]);
        while got < AMOUNT {
            got += host.read(&mut room).await.expect("received");
        }
    };
    tokio::join!(sending, receiving);
    report("guest to host", start.elapsed());

    let listen = "127.77.0.211:18080".parse().expect("an address");
    switch.publish(Listen { protocol: Protocol::Tcp, address: listen }, SocketAddrV4::new(one.address, 81)).await.expect("published");
    let server = one.stack.listen(81);
    let mut host = TcpStream::connect(listen).await.expect("a connection");
    let start = Instant::now();
    let sending = async {
        for _ in 0..AMOUNT >> 20 {
            host.write_all(&chunk).await.expect("sent");
        }
    };
    let receiving = async {
        let (mut got, mut room) = (0, vec![0; 256 << 10]);
        while got < AMOUNT {
            got += server.read(&mut room).await.expect("received");
        }
    };
    tokio::join!(sending, receiving);
    report("host to guest", start.elapsed());
    println!("{:#?}", switch.counters().await);
}
