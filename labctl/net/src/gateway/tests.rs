use labctl_spec::lab::Network;
use tokio::net::UdpSocket;

use super::*;
use crate::frame;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const MACS: (Mac, Mac) = ([2; 6], [4; 6]);

fn gateway() -> (Gateway, mpsc::Receiver<Run>, mpsc::UnboundedReceiver<Ended>) {
    let network = Network {
        subnet: "10.77.0.0/24".parse().unwrap(),
        gateway: GATEWAY,
        domain: "demo".to_owned(),
        internet: false,
        host_loopback: true,
        ipv6: None,
        proxy: None,
        ca: Vec::new(),
    };
    let (ingress, run) = mpsc::channel(1);
    let (ended, told) = mpsc::unbounded_channel();
    let names = Arc::new(Names::new(&network, &[], Vec::new()));
    let mut gateway = Gateway::new(MACS.0, GATEWAY, Rules::new(&network), names, ingress, ended);
    gateway.know(GUEST, MACS.1);
    (gateway, run, told)
}

#[tokio::test]
async fn clients_of_a_published_port_leave_guests_their_flows() {
    let (mut gateway, _run, _told) = gateway();
    let (answers, _answered) = mpsc::channel(1);
    let mut clients = Vec::new();
    let mut ask = |gateway: &mut Gateway, port: u16| {
        let (client, datagrams) = mpsc::channel(1);
        clients.push(client);
        let client = ([127, 0, 0, 1], port).into();
        gateway.exchange(SocketAddrV4::new(GUEST, 53), Exchange { client, datagrams, answers: answers.clone() });
    };
    // Most of them share their one socket.
    (1..=MOST_FLOWS as u16 + 100).for_each(|port| ask(&mut gateway, port));
    assert_eq!(gateway.open_flows(), MOST_FLOWS + 100);
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = SocketAddrV4::new(GATEWAY, host.local_addr().unwrap().port());
    let mut run = BytesMut::new();
    packet::udp(&mut run, Hop { from: MACS.1, to: MACS.0 }, SocketAddrV4::new(GUEST, 4000), to, b"hello");
    let mut replies = BytesMut::new();
    frame::frames(run.freeze()).for_each(|frame| gateway.receive(&frame, &mut replies));
    let mut heard = [0; 16];
    let length = host.recv(&mut heard).await.unwrap();
    assert_eq!(heard[..length], *b"hello");
    // There is a limit nevertheless.
    let before = gateway.counters.dropped;
    (1..=MOST_EXCHANGES as u16).for_each(|port| ask(&mut gateway, port));
    assert_eq!(gateway.open_flows(), MOST_EXCHANGES + 1);
    assert_eq!(gateway.counters.dropped - before, MOST_FLOWS as u64 + 100);
}
