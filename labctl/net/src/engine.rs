//! The switch's task, the sole owner of the table, the impairments, the held frames and the gateway.
//!
//! ```text
//!  port tasks ─┐ runs of frames                           ┌─▶ queue ─▶ port task
//!  flow tasks ─┴───────────────▶ held? ─▶ table ─▶ edge ──┤
//!                                  │                 │    └─▶ gateway ─▶ flow task
//!                          released in order    delayed, lost, ...
//! ```
//! It only ever waits for work: anything a receiver has no room for is dropped and counted.

use std::collections::BTreeMap;

use bytes::BytesMut;
use labctl_spec::network::{Edge, End, HeldFrames, Impairment};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::capture::{Capture, Direction};
use crate::command::{Command, PortConfig};
use crate::counters::{Counters, PortCounters};
use crate::delay::Delayed;
use crate::dial::DialError;
use crate::flow::Ended;
use crate::flow::tcp::Opening;
use crate::frame::{self, Frame};
use crate::gateway::Gateway;
use crate::hold::Held;
use crate::impair::EdgeState;
use crate::place::{GATEWAY, Place, Run};
use crate::table::{Port, Table};

/// Limit on runs processed before commands and timers get their turn.
const BATCH: usize = 32;

/// Inputs of the task.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) ended: mpsc::UnboundedReceiver<Ended>,
    pub(crate) ingress: mpsc::Receiver<Run>,
}

/// Answers a request, unless the caller no longer waits.
fn answer<T>(done: oneshot::Sender<T>, value: T) {
    let _ = done.send(value);
}

/// The state machine.
pub(crate) struct Engine {
    table: Table,
    gateway: Gateway,
    /// Impaired edges.
    edges: BTreeMap<(Place, Place), EdgeState>,
    delayed: Delayed,
    held: Option<Held>,
    capture: Option<Capture>,
    ingress: mpsc::Sender<Run>,
    /// The gateway's replies in this round.
    replies: BytesMut,
}

impl Engine {
    pub(crate) fn new(gateway: Gateway, ingress: mpsc::Sender<Run>) -> Self {
        Self {
            table: Table::default(),
            gateway,
            edges: BTreeMap::new(),
            delayed: Delayed::default(),
            held: None,
            capture: None,
            ingress,
            replies: BytesMut::new(),
        }
    }

    /// Runs until it is shut down or no handle is left.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let mut runs = Vec::with_capacity(BATCH);
        loop {
            // Nothing passes while frames are held, delayed ones included.
            let due = if self.held.is_some() { None } else { self.delayed.due() };
            tokio::select! {
                // Commands first: a hold must take effect before the next frame.
                biased;
                command = inputs.commands.recv() => match command {
                    Some(Command::Shutdown(done)) => {
                        answer(done, self.table.clear().filter_map(Port::stop).collect());
                        return;
                    }
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(ended) = inputs.ended.recv() => self.gateway.flow_ended(ended),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // Never closed, because `self` holds a sender.
                _ = inputs.ingress.recv_many(&mut runs, BATCH) => {
                    for run in runs.drain(..) {
                        for frame in frame::frames(run.bytes) {
                            self.arrive(run.from, frame);
                        }
                    }
                }
            }
            self.finish_round();
        }
    }

    /// Delivers what is due and the gateway's replies.
    fn finish_round(&mut self) {
        if self.held.is_none() {
            let now = Instant::now();
            while let Some((from, to, frame)) = self.delayed.pop(now) {
                self.deliver(from, to, frame);
            }
        }
        if !self.replies.is_empty() {
            for frame in frame::frames(self.replies.split().freeze()) {
                self.arrive(GATEWAY, frame);
            }
        }
        self.table.flush();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attach(config, done) => answer(done, self.attach(config)),
            Command::Detach(name, done) => {
                let place = self.table.place(&name);
                answer(done, self.detach(place));
            }
            Command::Dial { to, opening, host } => {
                if self.is_up(*to.ip()) {
                    self.gateway.dial(to, opening, host);
                } else {
                    opening.fail(DialError::Unreachable(to));
                }
            }
            Command::Join { to, mut stream, deadline } => {
                if self.is_up(*to.ip()) {
                    self.gateway.dial(to, Opening { outcome: None, deadline }, stream);
                } else {
                    crate::flow::host::HostSide::reset(&mut stream);
                }
            }
            Command::Exchange { to, exchange } => {
                // Otherwise the datagram is lost, and the client's next one tries again.
                if self.is_up(*to.ip()) {
                    self.gateway.exchange(to, exchange);
                }
            }
            Command::Hold(done) => {
                self.held.get_or_insert_with(Held::new);
                answer(done, ());
            }
            Command::Release(done) => answer(done, self.release()),
            Command::Impair(edge, impairment, done) => {
                let key = self.key(&edge);
                self.edges.insert(key, EdgeState::new(impairment));
                answer(done, ());
            }
            Command::Adjust(edge, impairment, done) => {
                let key = self.key(&edge);
                self.edges.entry(key).or_insert_with(|| EdgeState::new(Impairment::default())).change(impairment);
                answer(done, ());
            }
            Command::Heal(edge, done) => {
                let key = self.key(&edge);
                self.edges.remove(&key);
                answer(done, ());
            }
            Command::HealAll(done) => {
                self.edges.clear();
                answer(done, ());
            }
            Command::Count(done) => answer(done, self.count()),
            Command::Capture(file, done) => {
                let ended = std::mem::replace(&mut self.capture, file.map(Capture::start));
                answer(done, ended.map(Capture::stop));
            }
            Command::Rename(names, done) => {
                self.gateway.names = names;
                answer(done, ());
            }
            // Handled by the caller.
            Command::Shutdown(_) => {}
        }
    }

    fn attach(&mut self, config: PortConfig) -> Option<JoinHandle<()>> {
        let (address, mac) = (config.address, config.mac.0);
        let replaced = self.table.attach(config, &self.ingress);
        if let Some(replaced) = &replaced {
            self.gateway.forget(replaced.config.address);
        }
        self.gateway.know(address, mac);
        replaced?.stop()
    }

    fn detach(&mut self, place: Place) -> Option<JoinHandle<()>> {
        let port = self.table.detach(place)?;
        self.gateway.forget(port.config.address);
        port.stop()
    }

    /// Whether the node with that address is connected.
    fn is_up(&mut self, address: std::net::Ipv4Addr) -> bool {
        let place = self.gateway.neighbour(address).and_then(|mac| self.table.find(mac));
        place.and_then(|place| self.table.port(place)).is_some_and(|port| port.queue.is_connected())
    }

    fn release(&mut self) -> HeldFrames {
        let Some(held) = self.held.take() else { return HeldFrames::default() };
        // Frames in transit before the hold go first.
        let now = Instant::now();
        while let Some((from, to, frame)) = self.delayed.pop(now) {
            self.deliver(from, to, frame);
        }
        let (report, frames) = held.release();
        for (from, frame) in frames {
            self.forward(from, &frame);
        }
        report
    }

    /// Handles an incoming frame.
    fn arrive(&mut self, from: Place, frame: Frame) {
        if let Some(port) = self.table.port(from) {
            port.frames_in += 1;
            port.bytes_in += frame.len() as u64;
            if port.config.mac.0 != frame.source() {
                self.table.learn(frame.source(), from);
            }
        } else if from != GATEWAY {
            // Left over from a port that was detached meanwhile.
            return;
        }
        self.record(from, Direction::Outbound, &frame);
        match &mut self.held {
            Some(held) => held.push(from, &frame),
            None => self.forward(from, &frame),
        }
    }

    /// Forwards a frame to its destination: to one port, or to all except the sender's.
    fn forward(&mut self, from: Place, frame: &Frame) {
        let destination = frame.destination();
        if destination == self.gateway.mac {
            return self.pass(from, GATEWAY, frame);
        }
        match self.table.find(destination) {
            // Both are behind the same port, which already has the frame.
            Some(to) if to == from => {}
            Some(to) => self.pass(from, to, frame),
            None => {
                let others: Vec<Place> =
                    self.table.ports().map(|(place, _)| place).chain([GATEWAY]).filter(|place| *place != from).collect();
                for to in others {
                    self.pass(from, to, frame);
                }
            }
        }
    }

    /// Sends a frame along an edge.
    fn pass(&mut self, from: Place, to: Place, frame: &Frame) {
        if self.edges.is_empty() {
            return self.deliver(from, to, frame.clone());
        }
        let Some(edge) = self.edges.get_mut(&(from, to)) else { return self.deliver(from, to, frame.clone()) };
        let now = Instant::now();
        let mut at_once = Vec::new();
        edge.pass(now, frame, |due, frame| {
            if due > now {
                self.delayed.push(due, from, to, &frame);
            } else {
                at_once.push(frame);
            }
        });
        for frame in at_once {
            self.deliver(from, to, frame);
        }
    }

    /// Delivers a frame.
    fn deliver(&mut self, from: Place, to: Place, frame: Frame) {
        if to == GATEWAY {
            if from != GATEWAY {
                self.gateway.receive(&frame, &mut self.replies);
            }
            return;
        }
        self.record(to, Direction::Inbound, &frame);
        if let Some(port) = self.table.port(to) {
            port.outgoing.push(frame);
        }
    }

    fn record(&mut self, place: Place, direction: Direction, frame: &Frame) {
        // The gateway has no interface of its own: everything it sends and receives is recorded at the nodes.
        if place == GATEWAY {
            return;
        }
        if let Some(capture) = &mut self.capture {
            let table = &self.table;
            capture.record(place, || table.name(place).map(ToString::to_string).unwrap_or_default(), direction, frame);
        }
    }

    fn key(&mut self, edge: &Edge) -> (Place, Place) {
        let mut place = |end: &End| match end {
            End::Node(name) => self.table.place(name),
            End::Uplink => GATEWAY,
        };
        (place(&edge.from), place(&edge.to))
    }

    fn end(&self, place: Place) -> End {
        self.table.name(place).map_or(End::Uplink, |name| End::Node(name.clone()))
    }

    fn count(&self) -> Counters {
        let ports = self.table.ports().map(|(_, port)| {
            let (frames_out, bytes_out, dropped) = port.queue.counts();
            let counters = PortCounters {
                connected: port.queue.is_connected(),
                frames_in: port.frames_in,
                bytes_in: port.bytes_in,
                frames_out,
                bytes_out,
                dropped,
            };
            (port.config.name.clone(), counters)
        });
        let edges = self.edges.iter().map(|((from, to), state)| (Edge { from: self.end(*from), to: self.end(*to) }, state.counters()));
        let mut uplink = self.gateway.counters;
        uplink.open = self.gateway.open_flows() as u64;
        Counters {
            ports: ports.collect(),
            edges: edges.collect(),
            uplink,
            delayed_dropped: self.delayed.dropped(),
            capture_dropped: self.capture.as_ref().map_or(0, Capture::dropped),
        }
    }
}
