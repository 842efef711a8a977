use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::wire::{EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, IpEndpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::GATEWAY;
use super::stream::GuestStream;

/// A guest's network stack.
pub struct Stack {
    pub inner: Mutex<Inner>,
    pub poke: Notify,
    start: Instant,
}

pub struct Inner {
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    wire: Wire,
    next_port: u16,
    /// Frames to send unmodified.
    raw: VecDeque<Vec<u8>>,
    /// Every frame received.
    pub heard: Vec<Vec<u8>>,
    pub keep_heard: bool,
}

impl Stack {
    pub fn new(mac: [u8; 6], address: Ipv4Addr) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = u64::from(mac[5]) << 32 | u64::from(std::process::id());
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24)).unwrap());
        interface.routes_mut().add_default_ipv4_route(GATEWAY).unwrap();
        let inner = Inner {
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            next_port: 40000,
            raw: VecDeque::new(),
            heard: Vec::new(),
            keep_heard: false,
        };
        Self { inner: Mutex::new(inner), poke: Notify::new(), start: Instant::now() }
    }

    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = self.talk(stream).await;
        }
    }

    async fn talk(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let (mut from, mut to) = stream.split();
        let mut buffer = bytes::BytesMut::new();
        loop {
            let (out, delay) = self.poll();
            to.write_all(&out).await?;
            let timer = tokio::time::sleep(delay.unwrap_or(std::time::Duration::from_secs(3600)));
            buffer.reserve(256 << 10);
            tokio::select! {
                read = from.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
                () = self.poke.notified() => {}
                () = timer => {}
            }
            let mut inner = self.inner.lock().unwrap();
            while buffer.len() >= 4 {
                let length = u32::from_be_bytes(buffer[..4].try_into().unwrap()) as usize;
                if buffer.len() < 4 + length {
                    break;
                }
                let frame = buffer.split_to(4 + length).freeze().slice(4..);
                if inner.keep_heard {
                    inner.heard.push(frame.to_vec());
                }
                inner.wire.received.push_back(frame);
            }
        }
    }

    fn poll(&self) -> (Vec<u8>, Option<std::time::Duration>) {
        let now = smoltcp::time::Instant::from_micros(self.start.elapsed().as_micros() as i64);
        let mut inner = self.inner.lock().unwrap();
        let Inner { interface, sockets, wire, raw, .. } = &mut *inner;
        for frame in raw.drain(..) {
            wire.sent.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            wire.sent.extend_from_slice(&frame);
        }
        interface.poll(now, wire, sockets);
        (std::mem::take(&mut wire.sent), interface.poll_delay(now, sockets).map(Into::into))
    }

    /// Sends a frame unmodified.
    pub fn send_raw(&self, frame: Vec<u8>) {
        self.inner.lock().unwrap().raw.push_back(frame);
        self.poke.notify_one();
    }

    fn add_tcp(inner: &mut Inner) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 256 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        inner.sockets.add(socket)
    }

    /// Starts listening; returns the stream of the first connection.
    pub fn listen(self: &Arc<Self>, port: u16) -> GuestStream {
        let mut inner = self.inner.lock().unwrap();
        let handle = Self::add_tcp(&mut inner);
        inner.sockets.get_mut::<tcp::Socket>(handle).listen(port).unwrap();
        GuestStream { stack: self.clone(), handle }
    }

    /// Connects; an error means that the connection was refused.
    pub async fn connect(self: &Arc<Self>, to: SocketAddrV4) -> std::io::Result<GuestStream> {
        let stream = {
            let mut inner = self.inner.lock().unwrap();
            let handle = Self::add_tcp(&mut inner);
            let port = inner.next_port;
            inner.next_port += 1;
            let Inner { interface, sockets, .. } = &mut *inner;
            sockets.get_mut::<tcp::Socket>(handle).connect(interface.context(), (IpAddress::Ipv4(*to.ip()), to.port()), port).unwrap();
            GuestStream { stack: self.clone(), handle }
        };
        self.poke.notify_one();
        stream.established().await?;
        Ok(stream)
    }

    /// Sends an echo request; returns the reply's payload.
    pub async fn ping(&self, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let handle = {
            let mut inner = self.inner.lock().unwrap();
            let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 8192]);
            let mut socket = icmp::Socket::new(buffer(), buffer());
            socket.bind(icmp::Endpoint::Ident(77)).unwrap();
            let request = Icmpv4Repr::EchoRequest { ident: 77, seq_no: 1, data: payload };
            let room = socket.send(request.buffer_len(), to.into()).unwrap();
            request.emit(&mut Icmpv4Packet::new_unchecked(room), &ChecksumCapabilities::default());
            inner.sockets.add(socket)
        };
        self.poke.notify_one();
        poll_fn(|cx| {
            let mut inner = self.inner.lock().unwrap();
            let socket = inner.sockets.get_mut::<icmp::Socket>(handle);
            if let Ok((data, _)) = socket.recv() {
                let reply = Icmpv4Packet::new_checked(data).unwrap();
                let Ok(Icmpv4Repr::EchoReply { data, .. }) = Icmpv4Repr::parse(&reply, &Default::default()) else {
                    panic!("no echo reply: {reply:?}");
                };
                return Poll::Ready(data.to_vec());
            }
            socket.register_recv_waker(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Receives datagrams at `port` from now on.
    pub fn bind_udp(&self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 65536]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.inner.lock().unwrap().sockets.add(socket)
    }

    /// Waits for a datagram; returns its sender as well.
    pub async fn receive_udp(&self, handle: SocketHandle) -> (Vec<u8>, IpEndpoint) {
        poll_fn(|cx| {
            let mut inner = self.inner.lock().unwrap();
            let socket = inner.sockets.get_mut::<udp::Socket>(handle);
            if let Ok((data, about)) = socket.recv() {
                return Poll::Ready((data.to_vec(), about.endpoint));
            }
            socket.register_recv_waker(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Sends a datagram.
    pub fn send_udp(&self, handle: SocketHandle, payload: &[u8], to: IpEndpoint) {
        self.inner.lock().unwrap().sockets.get_mut::<udp::Socket>(handle).send_slice(payload, to).unwrap();
        self.poke.notify_one();
    }

    /// Sends a datagram from `port` and waits for a response.
    pub async fn ask(&self, port: u16, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let handle = self.bind_udp(port);
        self.send_udp(handle, payload, (IpAddress::Ipv4(*to.ip()), to.port()).into());
        let (reply, _) = self.receive_udp(handle).await;
        self.inner.lock().unwrap().sockets.remove(handle);
        reply
    }
}

#[derive(Default)]
struct Wire {
    received: VecDeque<bytes::Bytes>,
    sent: Vec<u8>,
}

struct Received(bytes::Bytes);
struct Sent<'a>(&'a mut Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.0.extend_from_slice(&(length as u32).to_be_bytes());
        let start = self.0.len();
        self.0.resize(start + length, 0);
        fill(&mut self.0[start..])
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent<'_>> {
        // At most a burst, as much as a NIC's ring holds.
        (self.sent.len() < 1 << 20).then_some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
