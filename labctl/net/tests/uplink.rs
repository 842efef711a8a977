//! What guests reach outside: the host's loopback only where allowed, nothing without internet, names.

mod guest;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use guest::{GATEWAY, Guest, network, switch_with};
use labctl_net::{Switch, SwitchConfig};
use labctl_spec::lab::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn gateway(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(GATEWAY, port)
}

async fn local_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn the_loopback_is_reached_through_the_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(Network { host_loopback: true, ..network() }, &[&one]).await;
    let (listener, port) = local_listener().await;
    let host = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        // The guest has closed its sending side and must still get all of this.
        stream.write_all(&all).await.unwrap();
        stream.write_all(b"end").await.unwrap();
    });
    let stream = one.stack.connect(gateway(port)).await.unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 253) as u8).collect();
    stream.write(&sent).await.unwrap();
    stream.close();
    let got = stream.read_to_end().await.unwrap();
    host.await.unwrap();
    assert_eq!(got[..sent.len()], sent);
    assert_eq!(&got[sent.len()..], b"end");
    guest::until(async || switch.counters().await.uplink.open == 0).await;
}

#[tokio::test]
async fn a_slow_reader_on_the_host_slows_the_guest() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(Network { host_loopback: true, ..network() }, &[&one]).await;
    let (listener, port) = local_listener().await;
    let stream = one.stack.connect(gateway(port)).await.unwrap();
    let (mut host, _) = listener.accept().await.unwrap();
    let much = vec![1; 64 << 20];
    let written = tokio::time::timeout(Duration::from_secs(1), stream.write(&much)).await;
    assert!(written.is_err(), "64 MiB must not vanish into buffers while nobody reads");
    stream.abort();
    let mut rest = Vec::new();
    let end = host.read_to_end(&mut rest).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "the guest's reset reaches the host");
}

#[tokio::test]
async fn a_closed_port_of_the_host_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(Network { host_loopback: true, ..network() }, &[&one]).await;
    let (listener, port) = local_listener().await;
    drop(listener);
    let refused = one.stack.connect(gateway(port)).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_host_itself_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(Network { internet: true, ..network() }, &[&one]).await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut addresses = vec![GATEWAY, Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 1, 2, 3), Ipv4Addr::new(169, 254, 1, 1)];
    // The host's own address, if it has one: the one it would use towards a documentation address. Nothing is sent.
    let route = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if route.connect("203.0.113.1:9").is_ok()
        && let std::net::IpAddr::V4(own) = route.local_addr().unwrap().ip()
    {
        addresses.push(own);
    }
    for address in addresses {
        let refused = one.stack.connect(SocketAddrV4::new(address, port)).await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "no connection may even reach the host");
}

#[tokio::test]
async fn without_internet_all_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(network(), &[&one]).await;
    let outside = Ipv4Addr::new(203, 0, 113, 1);
    let refused = one.stack.connect(SocketAddrV4::new(outside, 80)).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    one.stack.inner.lock().unwrap().keep_heard = true;
    let asking = one.stack.ask(4000, SocketAddrV4::new(outside, 123), b"time?");
    let heard = guest::until(async || {
        // IPv4, ICMP, destination unreachable, administratively prohibited, from the requested address.
        let inner = one.stack.inner.lock().unwrap();
        inner
            .heard
            .iter()
            .any(|frame| frame[12..14] == [8, 0] && frame[23] == 1 && frame[26..30] == outside.octets() && frame[34..36] == [3, 13])
    });
    tokio::select! {
        () = heard => {}
        _ = asking => panic!("nobody answers"),
    }
}

#[tokio::test]
async fn datagrams_reach_the_loopback_where_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(Network { host_loopback: true, ..network() }, &[&one]).await;
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = host.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let mut room = [0; 2000];
        for _ in 0..2 {
            let (length, from) = host.recv_from(&mut room).await.unwrap();
            host.send_to(&room[..length], from).await.unwrap();
        }
    });
    assert_eq!(one.stack.ask(4000, gateway(port), b"one").await, b"one");
    assert_eq!(one.stack.ask(4001, gateway(port), &[9; 1400]).await, [9; 1400]);
    echo.await.unwrap();
}

/// A query for the address of `name`.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

#[tokio::test]
async fn guests_have_names() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    let switch = switch_with(network(), &[&one, &two]).await;
    for name in ["two", "two.demo"] {
        let reply = one.stack.ask(4000, gateway(53), &question(name)).await;
        assert_eq!(reply[..2], [0x12, 0x34]);
        assert_eq!(reply[reply.len() - 4..], two.address.octets(), "{name}");
    }
    let code = |reply: &[u8]| reply[3] & 15;
    let reply = one.stack.ask(4000, gateway(53), &question("nobody.demo")).await;
    assert_eq!(code(&reply), 3, "no such name");
    switch.rename(&[("nobody".to_owned(), two.address.into())]).await;
    let reply = one.stack.ask(4000, gateway(53), &question("nobody.demo")).await;
    assert_eq!(code(&reply), 0, "names can change");
}

#[tokio::test]
async fn names_are_served_over_tcp_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(network(), &[&one]).await;
    let stream = one.stack.connect(gateway(53)).await.unwrap();
    for name in ["one", "one.demo"] {
        let question = question(name);
        stream.write(&[&(question.len() as u16).to_be_bytes(), &question[..]].concat()).await.unwrap();
        let length = stream.read_exact(2).await.unwrap();
        let reply = stream.read_exact(usize::from(u16::from_be_bytes([length[0], length[1]]))).await.unwrap();
        assert_eq!(reply[reply.len() - 4..], one.address.octets(), "{name}");
    }
    stream.close();
    assert_eq!(stream.read_to_end().await.unwrap(), b"");
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_a_datagram_comes_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let many: Vec<_> = (1..=50).map(|last| ("many".to_owned(), [10, 77, 0, last].into())).collect();
    switch.rename(&many).await;
    let question = question("many.demo");
    let reply = one.stack.ask(4000, gateway(53), &question).await;
    assert_eq!((reply[2] & 2, reply.len()), (2, question.len()), "truncated, with the question only");
    let stream = one.stack.connect(gateway(53)).await.unwrap();
    stream.write(&[&(question.len() as u16).to_be_bytes(), &question[..]].concat()).await.unwrap();
    let length = stream.read_exact(2).await.unwrap();
    let reply = stream.read_exact(usize::from(u16::from_be_bytes([length[0], length[1]]))).await.unwrap();
    assert_eq!((reply[2] & 2, u16::from_be_bytes([reply[6], reply[7]])), (0, 50));
    // Who takes more gets more (RFC 6891): an OPT record with 4,096 bytes.
    let mut takes = [&question[..], &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]].concat();
    takes[11] = 1;
    let reply = one.stack.ask(4000, gateway(53), &takes).await;
    assert_eq!((reply[2] & 2, u16::from_be_bytes([reply[6], reply[7]])), (0, 50));
}

#[tokio::test]
async fn other_names_are_asked_of_the_hosts_servers() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let broken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = vec![broken.local_addr().unwrap(), server.local_addr().unwrap()];
    drop(broken);
    let switch = Switch::start(SwitchConfig { network: Network { internet: true, ..network() }, names: vec![], upstream });
    switch.attach(one.port()).await;
    guest::connected(&switch, &[&one]).await;
    let upstream = tokio::spawn(async move {
        let mut room = [0; 512];
        let (length, from) = server.recv_from(&mut room).await.unwrap();
        room[2] |= 0x80;
        server.send_to(&room[..length], from).await.unwrap();
        room[..length].to_vec()
    });
    let asked = question("example.org");
    let reply = one.stack.ask(4000, gateway(53), &asked).await;
    let seen = upstream.await.unwrap();
    assert_eq!(reply[..2], asked[..2], "the guest's own id comes back");
    assert_eq!(reply[2..], seen[2..]);
    assert_eq!(reply[12..], asked[12..]);
    // No server answers any more.
    let reply = one.stack.ask(4000, gateway(53), &asked).await;
    assert_eq!(reply[3] & 15, 2, "a failure of the servers is told, not kept");
}
