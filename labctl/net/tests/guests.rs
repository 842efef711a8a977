//! Traffic between guests: ping, TCP, reconnection, hold.

mod guest;

use std::net::SocketAddrV4;

use guest::{GATEWAY, Guest, connected, network, switch_with};

#[tokio::test]
async fn a_guest_pings_gateway_and_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    let _switch = switch_with(network(), &[&one, &two]).await;
    assert_eq!(one.stack.ping(GATEWAY, b"hello").await, b"hello");
    assert_eq!(one.stack.ping(two.address, b"neighbour").await, b"neighbour");
    assert_eq!(two.stack.ping(GATEWAY, &[7; 1400]).await, [7; 1400]);
}

#[tokio::test]
async fn guests_talk_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    let _switch = switch_with(network(), &[&one, &two]).await;
    exchange(&one, &two).await;
}

/// Sends a lot of data from one guest to the other and back.
async fn exchange(one: &Guest, two: &Guest) {
    let server = two.stack.listen(80);
    let client = one.stack.connect(SocketAddrV4::new(two.address, 80)).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let (back, ()) = tokio::join!(
        async {
            client.write(&sent).await.unwrap();
            client.close();
            client.read_to_end().await.unwrap()
        },
        async {
            let got = server.read_to_end().await.unwrap();
            server.write(&got).await.unwrap();
            server.close();
        }
    );
    assert_eq!(back, sent);
}

#[tokio::test]
async fn a_guest_whose_machine_restarts_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let mut two = Guest::start(directory.path(), "two", 12);
    let switch = switch_with(network(), &[&one, &two]).await;
    two.unplug().await;
    guest::until(async || !switch.counters().await.ports[&two.name].connected).await;
    two.plug();
    connected(&switch, &[&two]).await;
    exchange(&one, &two).await;
}

#[tokio::test]
async fn guests_outlive_the_switch() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    let server = two.stack.listen(80);
    let client = {
        let switch = switch_with(network(), &[&one, &two]).await;
        let client = one.stack.connect(SocketAddrV4::new(two.address, 80)).await.unwrap();
        client.write(b"before ").await.unwrap();
        assert_eq!(server.read_exact(7).await.unwrap(), b"before ");
        switch.shutdown().await;
        client
    };
    client.write(b"after").await.unwrap();
    let _switch = switch_with(network(), &[&one, &two]).await;
    assert_eq!(server.read_exact(5).await.unwrap(), b"after", "a connection between guests survives the switch");
}
