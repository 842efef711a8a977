//! Published ports and dialled connections.

mod guest;

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::time::Duration;

use guest::{Guest, network, switch_with};
use labctl_net::{DialError, Listen, PublishError};
use labctl_spec::lab::Protocol;
use labctl_spec::network::{Edge, End, Impairment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A free port on a loopback address that belongs to the test.
async fn free(address: &str) -> Listen {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tcp(SocketAddrV4::new(address.parse().unwrap(), port))
}

fn tcp(address: SocketAddrV4) -> Listen {
    Listen { protocol: Protocol::Tcp, address }
}

#[tokio::test]
async fn a_published_port_leads_into_the_guest() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let (listen, to) = (free("127.77.0.11").await, SocketAddrV4::new(one.address, 80));
    switch.publish(listen, to).await.unwrap();
    switch.publish(listen, to).await.unwrap();

    // The client closes first.
    let server = one.stack.listen(80);
    let mut client = TcpStream::connect(listen.address).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 241) as u8).collect();
    let (mut from, mut to_guest) = client.split();
    let (got, ()) = tokio::join!(
        async {
            to_guest.write_all(&sent).await.unwrap();
            to_guest.shutdown().await.unwrap();
            let mut got = Vec::new();
            from.read_to_end(&mut got).await.unwrap();
            got
        },
        async {
            let got = server.read_to_end().await.unwrap();
            server.write(&got).await.unwrap();
            server.close();
        }
    );
    assert_eq!(got, sent);

    // The guest closes first.
    let server = one.stack.listen(80);
    let mut client = TcpStream::connect(listen.address).await.unwrap();
    server.established().await.unwrap();
    server.write(b"banner").await.unwrap();
    server.close();
    let mut banner = String::new();
    client.read_to_string(&mut banner).await.unwrap();
    assert_eq!(banner, "banner");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(server.read_to_end().await.unwrap(), b"late");
}

#[tokio::test]
async fn what_the_guest_refuses_is_reset() {
    let directory = tempfile::tempdir().unwrap();
    let mut one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let listen = free("127.77.0.11").await;
    switch.publish(listen, SocketAddrV4::new(one.address, 81)).await.unwrap();
    let reset = async || {
        let mut client = TcpStream::connect(listen.address).await.unwrap();
        client.read(&mut [0; 1]).await.unwrap_err().kind()
    };
    assert_eq!(reset().await, ErrorKind::ConnectionReset, "nobody listens");
    one.unplug().await;
    guest::until(async || !switch.counters().await.ports[&one.name].connected).await;
    assert_eq!(reset().await, ErrorKind::ConnectionReset, "the machine is off");
}

#[tokio::test]
async fn an_address_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let to = SocketAddrV4::new(one.address, 80);
    let other = TcpListener::bind("127.77.0.11:0").await.unwrap();
    let std::net::SocketAddr::V4(taken) = other.local_addr().unwrap() else { unreachable!() };
    let taken = tcp(taken);
    let error = switch.publish(taken, to).await.unwrap_err();
    assert!(matches!(error, PublishError::InUse(address) if address == taken), "{error}");
    drop(other);
    switch.publish(taken, to).await.unwrap();
    switch.publish(taken, SocketAddrV4::new(one.address, 81)).await.unwrap();
    switch.unpublish(taken).await;
    let other = TcpListener::bind(taken.address).await.expect("free again");
    drop(other);
    switch.publish(taken, to).await.unwrap();
    switch.clone().shutdown().await;
    TcpListener::bind(taken.address).await.expect("free after the end");
    assert!(matches!(switch.publish(taken, to).await, Err(PublishError::Stopped(_))));
    // Nobody owns documentation addresses (RFC 5737).
    let switch = switch_with(network(), &[&one]).await;
    let error = switch.publish(tcp("203.0.113.77:80".parse().unwrap()), to).await.unwrap_err();
    assert!(matches!(error, PublishError::NoSuchAddress(_)), "{error}");
}

/// Answers every datagram at a guest's port 53 with its bytes in reverse.
async fn answer_in_reverse(guest: &Guest) {
    let handle = guest.stack.bind_udp(53);
    loop {
        let (mut datagram, from) = guest.stack.receive_udp(handle).await;
        datagram.reverse();
        guest.stack.send_udp(handle, &datagram, from);
    }
}

#[tokio::test]
async fn datagrams_of_each_client_have_their_own_answers() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let address = free("127.77.0.12").await.address;
    let (listen, to) = (Listen { protocol: Protocol::Udp, address }, SocketAddrV4::new(one.address, 53));
    switch.publish(listen, to).await.unwrap();
    // The same number is free for TCP.
    switch.publish(tcp(address), to).await.unwrap();
    let talk = async {
        let clients = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        let mut room = [0; 100];
        for (words, back) in [(["abc", "def"], ["cba", "fed"]), (["1", "2"], ["1", "2"])] {
            for (client, word) in clients.iter().zip(words) {
                client.send_to(word.as_bytes(), address).await.unwrap();
            }
            for (client, back) in clients.iter().zip(back) {
                let (length, from) = client.recv_from(&mut room).await.unwrap();
                assert_eq!((&room[..length], from), (back.as_bytes(), address.into()));
            }
        }
    };
    tokio::select! {
        () = talk => {}
        () = answer_in_reverse(&one) => {}
    }
    assert_eq!(switch.counters().await.uplink.open, 2, "one flow for each client");
    let why = UdpSocket::bind(address).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::AddrInUse);
    switch.unpublish(listen).await;
    let other = UdpSocket::bind(address).await.expect("free again");
    guest::until(async || switch.counters().await.uplink.open == 0).await;
    let error = switch.publish(listen, to).await.unwrap_err();
    assert!(matches!(error, PublishError::InUse(taken) if taken == listen), "{error}");
    drop(other);
}

#[tokio::test]
async fn dialling_tells_failures_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(network(), &[&one]).await;
    let (open, closed) = (SocketAddrV4::new(one.address, 80), SocketAddrV4::new(one.address, 81));

    let server = one.stack.listen(80);
    let mut stream = switch.dial(open).await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(server.read_to_end().await.unwrap(), b"question");
    server.write(b"answer").await.unwrap();
    server.close();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");

    let server = one.stack.listen(80);
    let mut stream = switch.dial(open).await.unwrap();
    server.established().await.unwrap();
    server.abort();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    assert_eq!(switch.dial(closed).await.unwrap_err(), DialError::Refused(closed));
    let nobody = "10.77.0.99:80".parse().unwrap();
    assert_eq!(switch.dial(nobody).await.unwrap_err(), DialError::Unreachable(nobody));

    let _server = one.stack.listen(80);
    let edge = Edge { from: End::Uplink, to: End::Node(one.name.clone()) };
    switch.impair(edge, Impairment { cut: true, ..Impairment::default() }).await;
    let silent = switch.dial_within(open, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(silent, DialError::TimedOut(open));
    switch.heal_all().await;
    let mut stream = switch.dial(open).await.unwrap();

    one.unplug().await;
    guest::until(async || !switch.counters().await.ports[&one.name].connected).await;
    assert_eq!(switch.dial(open).await.unwrap_err(), DialError::Unreachable(open));
    switch.detach(&one.name).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset, "detached");
    switch.clone().shutdown().await;
    assert_eq!(switch.dial(open).await.unwrap_err(), DialError::Stopped(open));
}
