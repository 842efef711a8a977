//! Packets on a byte stream: COBS (Cheshire and Baker, 1999) with a CRC-32 and a terminating zero byte.
//!
//! Plain length prefixes would not work: a controller that is killed in the middle of a packet leaves a partial packet in QEMU's buffers,
//! and its successor's first packet would be read as the rest of it. With COBS the next zero byte always ends a packet, so a partial packet
//! affects only itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest packet before encoding, in bytes. A reader drops anything longer.
const LONGEST: usize = 64 << 20;

/// Why a packet was dropped. The stream continues after it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The checksum differs: a partial packet, or noise.
    #[error("a damaged packet of {0} bytes was dropped")]
    Damaged(usize),
    /// The checksum is correct but the message is unknown: the other side uses a different protocol version.
    #[error("a packet could not be understood: {0}")]
    Foreign(#[from] rmp_serde::decode::Error),
}

/// Encodes a message as a packet, ready to be written.
///
/// # Panics
/// Never for the types of this crate: MessagePack can express all of them.
pub fn frame<T: Serialize>(message: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "only a type that cannot be serialized at all fails")]
    let mut body = rmp_serde::to_vec_named(message).expect("wire messages are plain data");
    body.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    // A zero before the packet too: it ends whatever an earlier writer left unfinished.
    let mut packet = vec![0; cobs::max_encoding_length(body.len()) + 2];
    let length = cobs::encode(&body, &mut packet[1..]);
    packet.truncate(length + 2);
    packet[length + 1] = 0;
    packet
}

/// Turns a byte stream into messages.
#[derive(Debug, Default)]
pub struct Unframer {
    pending: Vec<u8>,
}

impl Unframer {
    /// An empty reader.
    pub fn new() -> Self {
        Self::default()
    }

    /// Consumes `bytes` and calls `each` for every packet that they complete.
    pub fn feed<T: DeserializeOwned>(&mut self, mut bytes: &[u8], mut each: impl FnMut(Result<T, FrameError>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            self.pending.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if !self.pending.is_empty() {
                each(decode(&mut self.pending));
                self.pending.clear();
            }
        }
        if self.pending.len() + bytes.len() > LONGEST {
            self.pending.clear();
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }
}

fn decode<T: DeserializeOwned>(packet: &mut [u8]) -> Result<T, FrameError> {
    let raw = packet.len();
    let length = cobs::decode_in_place(packet).map_err(|_| FrameError::Damaged(raw))?;
    let (body, sum) = packet[..length].split_last_chunk::<4>().ok_or(FrameError::Damaged(raw))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
        return Err(FrameError::Damaged(raw));
    }
    Ok(rmp_serde::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> (Vec<String>, usize) {
        let (mut good, mut bad) = (Vec::new(), 0);
        let mut unframer = Unframer::new();
        for part in bytes.chunks(step) {
            unframer.feed(part, |message| match message {
                Ok(text) => good.push(text),
                Err(_) => bad += 1,
            });
        }
        (good, bad)
    }

    #[test]
    fn packets_survive_any_cutting() {
        let texts: Vec<String> = ["", "a\0b", &"x".repeat(1000)].map(str::to_owned).to_vec();
        let bytes: Vec<u8> = texts.iter().flat_map(frame).collect();
        for step in [1, 2, 7, 255, bytes.len()] {
            assert_eq!(all(&bytes, step), (texts.clone(), 0), "cut every {step} bytes");
        }
    }

    #[test]
    fn a_torso_costs_only_itself() {
        let whole = frame(&"first".to_owned());
        let next = frame(&"second".to_owned());
        for cut in 0..whole.len() {
            let bytes = [&whole[..cut], &next[..]].concat();
            let (good, _) = all(&bytes, 3);
            assert_eq!(good.last().map(String::as_str), Some("second"), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = frame(&"hello".to_owned());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        assert_eq!(all(&bytes, 64), (vec![], 1));
    }
}
