//! Records frames as pcapng (IETF draft-ietf-opsawg-pcapng): one interface per node, named after the node. The
//! direction is from the node's point of view: what it sent is outbound. A frame from one node to another is recorded
//! at both, so that the effect of an impairment between them is visible.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::frame::Frame;
use crate::place::Place;

/// Frames that may wait for the disk. Further frames are counted and left out, because the network never waits.
const BACKLOG: usize = 8192;

/// Whether the node sent or received a frame (pcapng's `epb_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Sent to the node.
    Inbound = 1,
    /// Sent by the node.
    Outbound = 2,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Capture {
    interfaces: HashMap<Place, u32>,
    records: SyncSender<Record>,
    writer: JoinHandle<std::io::Result<()>>,
    dropped: u64,
}

struct Record {
    /// The name of the interface, when it first appears.
    new: Option<String>,
    interface: u32,
    nanoseconds: u64,
    direction: Direction,
    frame: Frame,
}

impl Capture {
    /// Records into `file`.
    pub(crate) fn start(file: std::fs::File) -> Self {
        let (records, received) = sync_channel(BACKLOG);
        let writer = tokio::task::spawn_blocking(move || write_all(file, &received));
        Self { interfaces: HashMap::new(), records, writer, dropped: 0 }
    }

    /// Records a frame. `name` is called only once per place.
    pub(crate) fn record(&mut self, place: Place, name: impl FnOnce() -> String, direction: Direction, frame: &Frame) {
        let known = self.interfaces.get(&place).copied();
        // There are fewer nodes than addresses in a subnet.
        let interface = known.unwrap_or(self.interfaces.len() as u32);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            new: known.is_none().then(name),
            interface,
            nanoseconds: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            direction,
            frame: frame.detached(),
        };
        if self.records.try_send(record).is_ok() {
            self.interfaces.insert(place, interface);
        } else {
            self.dropped += 1;
        }
    }

    /// Frames that were left out.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Stops the capture; the writer's result is available once everything is written.
    pub(crate) fn stop(self) -> JoinHandle<std::io::Result<()>> {
        self.writer
    }
}

fn write_all(file: std::fs::File, records: &Receiver<Record>) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    write_section(&mut file)?;
    file.flush()?;
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => return file.flush(),
            Err(TryRecvError::Empty) => {
                // So that anyone following the file sees everything.
                file.flush()?;
                let Ok(record) = records.recv() else { return Ok(()) };
                record
            }
        };
        if let Some(name) = &record.new {
            write_interface(&mut file, name)?;
        }
        write_packet(&mut file, &record)?;
    }
}

/// A block: type, length, body padded to 32 bits, length again.
fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(12 + body.len()).map_err(std::io::Error::other)?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&length.to_le_bytes())
}

/// An option: code, length, value padded to 32 bits.
fn push_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    // Names are at most 63 bytes, the other options are shorter.
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    push_padded(body, value);
}

fn push_padded(body: &mut Vec<u8>, value: &[u8]) {
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Section header block: byte-order magic, version 1.0, length unknown.
fn write_section(out: &mut impl Write) -> std::io::Result<()> {
    let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    body.extend_from_slice(&[1, 0, 0, 0]);
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    write_block(out, 0x0a0d_0d0a, &body)
}

/// Interface description block: Ethernet, whole frames, nanoseconds.
fn write_interface(out: &mut impl Write, name: &str) -> std::io::Result<()> {
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
    push_option(&mut body, 2, name.as_bytes());
    push_option(&mut body, 9, &[9]);
    push_option(&mut body, 0, &[]);
    write_block(out, 1, &body)
}

/// Enhanced packet block.
fn write_packet(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    let data = record.frame.ethernet();
    let length = u32::try_from(data.len()).map_err(std::io::Error::other)?;
    let mut body = Vec::with_capacity(data.len() + 40);
    for word in [record.interface, (record.nanoseconds >> 32) as u32, record.nanoseconds as u32, length, length] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    push_padded(&mut body, data);
    push_option(&mut body, 2, &(record.direction as u32).to_le_bytes());
    push_option(&mut body, 0, &[]);
    write_block(out, 6, &body)
}
