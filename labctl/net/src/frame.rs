//! Ethernet frames in the format of QEMU's `stream` network backend: each has a 4-byte big-endian length prefix (QEMU
//! `net/stream.c`). A frame keeps its prefix all the way, so forwarding copies nothing: the bytes read from one socket
//! are written to the other.

use bytes::{Bytes, BytesMut};

/// Length of the prefix of each frame in bytes.
pub(crate) const PREFIX: usize = 4;

/// Length of an Ethernet header without a VLAN tag in bytes.
pub(crate) const ETHERNET: usize = 14;

/// Longest frame in bytes that QEMU accepts (`NET_BUFSIZE`, QEMU `include/net/net.h`); QEMU closes the connection on a
/// longer one.
const LONGEST: usize = 4096 + 65536;

/// An Ethernet address as in a frame.
pub(crate) type Mac = [u8; 6];

/// One frame with its prefix; never shorter than an Ethernet header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame(Bytes);

impl Frame {
    /// The frame without its prefix.
    pub(crate) fn ethernet(&self) -> &[u8] {
        &self.0[PREFIX..]
    }

    /// Prefix and frame, as written to a socket.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Length of the frame in bytes, without its prefix.
    pub(crate) fn len(&self) -> usize {
        self.0.len() - PREFIX
    }

    /// Destination address.
    pub(crate) fn destination(&self) -> Mac {
        self.mac_at(0)
    }

    /// Source address.
    pub(crate) fn source(&self) -> Mac {
        self.mac_at(6)
    }

    /// The EtherType (IEEE 802.3).
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.ethernet()[12], self.ethernet()[13]])
    }

    /// What follows the Ethernet header.
    pub(crate) fn payload(&self) -> Bytes {
        self.0.slice(PREFIX + ETHERNET..)
    }

    /// A copy of the frame in separate memory. Frames from one read share a buffer, and one that is kept for long must
    /// not pin it.
    pub(crate) fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// A copy of the frame with one bit flipped after its Ethernet header; `bit` selects which.
    pub(crate) fn corrupted(&self, bit: u64) -> Self {
        let mut bytes = BytesMut::from(&self.0[..]);
        let room = bytes.len() - PREFIX - ETHERNET;
        if room > 0 {
            let bit = bit % (room as u64 * 8);
            // `bit / 8` is less than the frame's length, which fits in a usize.
            bytes[PREFIX + ETHERNET + (bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Self(bytes.freeze())
    }

    fn mac_at(&self, offset: usize) -> Mac {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.ethernet()[offset..offset + 6]);
        mac
    }
}

/// Why a byte stream is not a sequence of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prefix announces a frame of {0} bytes, but QEMU never sends more than {LONGEST}")]
pub(crate) struct BadLength(usize);

/// Takes the complete frames off the front of `buffer`, if there are any.
pub(crate) fn take_run(buffer: &mut BytesMut) -> Result<Option<Bytes>, BadLength> {
    let mut end = 0;
    while let Some(prefix) = buffer.get(end..end + PREFIX) {
        let length = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        if length > LONGEST {
            return Err(BadLength(length));
        }
        if buffer.len() < end + PREFIX + length {
            break;
        }
        end += PREFIX + length;
    }
    Ok((end > 0).then(|| buffer.split_to(end).freeze()))
}

/// The frames of a run of complete frames, except those too short for an Ethernet header.
pub(crate) fn frames(mut run: Bytes) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(move || {
        while run.len() >= PREFIX {
            let length = u32::from_be_bytes([run[0], run[1], run[2], run[3]]) as usize;
            let frame = run.split_to((PREFIX + length).min(run.len()));
            if length >= ETHERNET && frame.len() == PREFIX + length {
                return Some(Frame(frame));
            }
        }
        None
    })
}

/// Appends a frame of `payload` bytes to `run`; `fill` writes the payload.
pub(crate) fn append<R>(run: &mut BytesMut, to: Mac, from: Mac, ether_type: u16, payload: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
    let length = u32::try_from(ETHERNET + payload).unwrap_or(u32::MAX);
    run.reserve(PREFIX + ETHERNET + payload);
    run.extend_from_slice(&length.to_be_bytes());
    run.extend_from_slice(&to);
    run.extend_from_slice(&from);
    run.extend_from_slice(&ether_type.to_be_bytes());
    let start = run.len();
    run.resize(start + payload, 0);
    fill(&mut run[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(payloads: &[&[u8]]) -> BytesMut {
        let mut run = BytesMut::new();
        for payload in payloads {
            append(&mut run, [1; 6], [2; 6], 0x0800, payload.len(), |room| room.copy_from_slice(payload));
        }
        run
    }

    #[test]
    fn frames_survive_any_cutting() {
        let bytes = run_of(&[b"", b"a", &[7; 1500]]).freeze();
        for step in [1, 3, 17, 1000, bytes.len()] {
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for part in bytes.chunks(step) {
                buffer.extend_from_slice(part);
                if let Some(run) = take_run(&mut buffer).unwrap() {
                    seen.extend(frames(run).map(|frame| frame.payload().to_vec()));
                }
            }
            assert_eq!(seen, [vec![], b"a".to_vec(), vec![7; 1500]], "cut every {step} bytes");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        let mut buffer = BytesMut::from(&(LONGEST as u32 + 1).to_be_bytes()[..]);
        assert_eq!(take_run(&mut buffer), Err(BadLength(LONGEST + 1)));
    }

    #[test]
    fn runts_are_left_out() {
        let mut run = BytesMut::from(&[0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0][..]);
        run.extend_from_slice(&run_of(&[b"x"]));
        let seen: Vec<Frame> = frames(run.freeze()).collect();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].ethernet()[14..], *b"x");
        assert_eq!((seen[0].destination(), seen[0].source(), seen[0].ether_type()), ([1; 6], [2; 6], 0x0800));
    }

    #[test]
    fn corruption_flips_one_bit_behind_the_header() {
        let frame = frames(run_of(&[&[0; 100]]).freeze()).next().unwrap();
        for bit in [0, 7, 799, u64::MAX] {
            let broken = frame.corrupted(bit);
            let flipped: u32 = frame.wire().iter().zip(broken.wire()).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(flipped, 1);
            assert_eq!(frame.ethernet()[..14], broken.ethernet()[..14]);
        }
    }
}
