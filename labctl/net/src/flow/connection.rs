//! The switch's end of one guest's TCP connection: smoltcp with a single socket. Using one stack per connection makes
//! the cost of a packet independent of the number of connections.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::frame;
use crate::packet::{Hop, IPV4, MTU};

/// Window size in bytes for each direction: enough for 1 Gbit/s at 1 ms. The kernel allocates the memory only when it
/// is used.
const WINDOW: usize = 128 << 10;

/// Silence after which the guest is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// Silence of a guest that owes a reply, after which the connection is closed. Long, because a guest may be paused.
const GIVE_UP: Duration = Duration::from_secs(900);

/// One TCP connection.
pub(crate) struct Connection {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    start: Instant,
}

impl Connection {
    /// A connection that waits for the guest's SYN to `local`.
    pub(crate) fn accept(hop: Hop, local: SocketAddrV4) -> Option<Self> {
        let mut connection = Self::new(hop, local);
        connection.socket().listen((IpAddress::Ipv4(*local.ip()), local.port())).ok()?;
        Some(connection)
    }

    /// A connection that is about to send its SYN from `local` to `remote`.
    pub(crate) fn connect(hop: Hop, local: SocketAddrV4, remote: SocketAddrV4) -> Option<Self> {
        let mut connection = Self::new(hop, local);
        let Self { interface, sockets, handle, .. } = &mut connection;
        sockets
            .get_mut::<Socket<'_>>(*handle)
            .connect(interface.context(), (IpAddress::Ipv4(*remote.ip()), remote.port()), (IpAddress::Ipv4(*local.ip()), local.port()))
            .ok()?;
        Some(connection)
    }

    fn new(hop: Hop, local: SocketAddrV4) -> Self {
        let mut wire = Wire { hop, from_guest: VecDeque::new(), to_guest: BytesMut::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        // A random initial sequence number (RFC 6528 requires it to be hard to guess); the standard library's hasher is
        // seeded by the system.
        config.random_seed = RandomState::new().build_hasher().finish();
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // There is room for at least one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(*local.ip()), 32));
        });
        let buffer = || SocketBuffer::new(vec![0; WINDOW]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        // One acknowledgement per batch of packets is few enough; a delay would stall senders of small segments.
        socket.set_ack_delay(None);
        socket.set_keep_alive(Some(KEEP_ALIVE.into()));
        socket.set_timeout(Some(GIVE_UP.into()));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self { interface, sockets, handle, wire, start: Instant::now() }
    }

    /// The socket.
    pub(crate) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Queues a packet from the guest.
    pub(crate) fn receive(&mut self, packet: Bytes) {
        self.wire.from_guest.push_back(packet);
    }

    /// Processes packets and timers.
    pub(crate) fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Time until the next timer is due.
    pub(crate) fn next_timer(&mut self) -> Option<Duration> {
        let now = self.now();
        self.interface.poll_delay(now, &self.sockets).map(Into::into)
    }

    /// The frames that `poll` produced for the guest; may be empty.
    pub(crate) fn take_frames(&mut self) -> Bytes {
        self.wire.to_guest.split().freeze()
    }

    fn now(&self) -> smoltcp::time::Instant {
        // Not smoltcp's own `Instant::now`, which is the wall clock and may jump.
        smoltcp::time::Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// The link between smoltcp and the switch: packets in, frames out.
#[derive(Debug)]
struct Wire {
    hop: Hop,
    from_guest: VecDeque<Bytes>,
    to_guest: BytesMut,
}

struct Received(Bytes);

struct Sent<'a>(&'a mut Wire);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Hop { from, to } = self.0.hop;
        frame::append(&mut self.0.to_guest, to, from, IPV4, length, fill)
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent<'_>)> {
        let packet = self.from_guest.pop_front()?;
        Some((Received(packet), Sent(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent<'_>> {
        Some(Sent(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}
