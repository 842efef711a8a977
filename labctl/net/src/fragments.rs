//! Puts fragmented IPv4 packets together (RFC 791, 3.2; RFC 815). Guests fragment datagrams that exceed the network's MTU.
//!
//! Memory and time are bounded: a packet that is not complete in time is dropped, and so is the oldest one when there is no room. Fragments
//! that overlap make the whole packet worthless, as with IPv6 (RFC 5722): nothing honest sends them. An exact repetition is ignored, because
//! networks do duplicate frames.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smoltcp::wire::Ipv4Packet;
use tokio::time::Instant;

/// How long a packet may take to arrive, from its first fragment on. Linux gives up after the same time (ip-sysctl, `ipfrag_time`).
const PATIENCE: Duration = Duration::from_secs(30);

/// Limit on stored bytes: room for 64 packets of the largest size.
const MOST_BYTES: usize = 4 << 20;

/// What a packet and each of its fragments cost besides payload. Otherwise many tiny ones would take much more memory than is counted.
const OVERHEAD: usize = 128;

/// Longest IPv4 packet in bytes.
const LONGEST: usize = 65535;

/// What belongs to one packet (RFC 791: source, destination, protocol, identification).
type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

/// Packets of which some fragments have arrived.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    partial: HashMap<Key, Partial>,
    /// Their keys in order of arrival.
    order: BTreeMap<u64, Key>,
    next_number: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Partial {
    since: Instant,
    /// Place in the order of arrival.
    number: u64,
    /// The header of the first fragment.
    header: Option<Bytes>,
    /// Payloads by offset; they do not overlap.
    parts: BTreeMap<usize, Bytes>,
    /// Length of the whole payload, known from the last fragment.
    length: Option<usize>,
    /// A fragment contradicted another. The rest of the packet is still recognised, and dropped.
    spoilt: bool,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It completed this packet.
    Whole(Bytes),
    /// Others are missing.
    Waiting,
    /// It was malformed, or contradicts another one.
    Dropped,
}

impl Fragments {
    /// Adds a fragment, which is a whole IPv4 packet with a valid header.
    pub(crate) fn add(&mut self, now: Instant, fragment: &Ipv4Packet<&[u8]>) -> Added {
        self.expire(now);
        let (start, payload, more) = (usize::from(fragment.frag_offset()), fragment.payload(), fragment.more_frags());
        let end = start + payload.len();
        let uneven = more && payload.len() % 8 != 0;
        if payload.is_empty() || uneven || usize::from(fragment.header_len()) + end > LONGEST {
            return Added::Dropped;
        }
        let key = (fragment.src_addr(), fragment.dst_addr(), fragment.next_header().into(), fragment.ident());
        self.make_room(key, payload.len() + OVERHEAD);
        let partial = self.partial.entry(key).or_insert_with(|| {
            self.next_number += 1;
            self.order.insert(self.next_number, key);
            self.bytes += OVERHEAD;
            Partial::new(now, self.next_number)
        });
        if partial.spoilt {
            return Added::Dropped;
        }
        if partial.has(start, payload, more) {
            return Added::Waiting;
        }
        if partial.contradicts(start, end, more) {
            self.bytes -= partial.cost();
            partial.spoil();
            self.bytes += partial.cost();
            return Added::Dropped;
        }
        if start == 0 {
            partial.header = Some(Bytes::copy_from_slice(&fragment.as_ref()[..usize::from(fragment.header_len())]));
        }
        if !more {
            partial.length = Some(end);
        }
        // A copy: frames that were read together share a buffer, which a fragment must not keep alive.
        partial.parts.insert(start, Bytes::copy_from_slice(payload));
        self.bytes += payload.len() + OVERHEAD;
        let Some(whole) = partial.whole() else { return Added::Waiting };
        self.forget(key);
        if whole.len() > LONGEST { Added::Dropped } else { Added::Whole(whole.freeze()) }
    }

    /// Drops packets that took too long.
    fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.order.first_key_value() {
            let key = *key;
            if self.partial.get(&key).is_some_and(|partial| now.saturating_duration_since(partial.since) < PATIENCE) {
                return;
            }
            self.forget(key);
        }
    }

    /// Drops the oldest packets other than `key` until `cost` bytes fit.
    fn make_room(&mut self, key: Key, cost: usize) {
        while self.bytes + OVERHEAD + cost > MOST_BYTES {
            let Some(oldest) = self.order.values().find(|other| **other != key).copied() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(partial) = self.partial.remove(&key) {
            self.order.remove(&partial.number);
            self.bytes -= partial.cost();
        }
    }
}

impl Partial {
    fn new(since: Instant, number: u64) -> Self {
        Self { since, number, header: None, parts: BTreeMap::new(), length: None, spoilt: false }
    }

    fn cost(&self) -> usize {
        OVERHEAD + self.parts.values().map(|part| part.len() + OVERHEAD).sum::<usize>()
    }

    /// Whether it already has exactly this fragment.
    fn has(&self, start: usize, payload: &[u8], more: bool) -> bool {
        let known = self.parts.get(&start).is_some_and(|known| known == payload);
        known && more == (self.length != Some(start + payload.len()))
    }

    /// Whether a fragment from `start` to `end` overlaps another, or does not fit the length of the packet.
    fn contradicts(&self, start: usize, end: usize, more: bool) -> bool {
        let before = self.parts.range(..end).next_back();
        let overlaps = before.is_some_and(|(other, part)| other + part.len() > start);
        let last = self.parts.last_key_value().map_or(0, |(other, part)| other + part.len());
        let misplaced = match self.length {
            Some(length) if more => end >= length,
            Some(length) => end != length,
            None => !more && last > end,
        };
        overlaps || misplaced
    }

    /// Keeps only the memory that it is worthless.
    fn spoil(&mut self) {
        *self = Self { spoilt: true, ..Self::new(self.since, self.number) };
    }

    /// The packet, if it is complete.
    fn whole(&self) -> Option<BytesMut> {
        let (header, length) = (self.header.as_ref()?, self.length?);
        // They do not overlap, so there is no gap if they add up.
        if self.parts.values().map(Bytes::len).sum::<usize>() != length {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(header.len() + length);
        bytes.extend_from_slice(header);
        self.parts.values().for_each(|part| bytes.extend_from_slice(part));
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        // Longer ones are refused by the caller.
        packet.set_total_len(u16::try_from(header.len() + length).unwrap_or(u16::MAX));
        packet.set_more_frags(false);
        packet.set_frag_offset(0);
        packet.fill_checksum();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests;
