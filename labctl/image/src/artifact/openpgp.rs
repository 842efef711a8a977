//! As much of OpenPGP's formats (RFC 9580) as is needed to hand keys and signatures to gpgv: armour, the framing of
//! packets, a key's fingerprint. Nothing here decides about trust.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Packet type of a signature (RFC 9580, 5).
pub(super) const SIGNATURE: u8 = 2;
/// Packet type of a primary public key.
const PUBLIC_KEY: u8 = 6;
/// What a transferable public key may contain after its primary key (RFC 9580, 10.1): signatures, trust, user names,
/// subkeys, photos.
const OF_A_KEY: [u8; 5] = [SIGNATURE, 12, 13, 14, 17];

/// One packet.
pub(super) struct Packet<'a> {
    /// Its type.
    pub tag: u8,
    /// Its content.
    body: &'a [u8],
    /// All of it, with its header.
    pub whole: &'a [u8],
}

/// Pinned keys, as gpgv reads them from a keyring file.
pub(super) struct Keys {
    /// All packets, without armour.
    pub bytes: Vec<u8>,
    /// The primary keys' fingerprints in upper-case hex.
    pub fingerprints: Vec<String>,
}

impl Keys {
    /// Reads armoured public keys: one block or several, each with one key or several.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let bytes = dearmour(text, "PUBLIC KEY BLOCK")?;
        let mut fingerprints = Vec::new();
        for packet in packets(&bytes)? {
            match packet.tag {
                PUBLIC_KEY => fingerprints.push(fingerprint(packet.body)?),
                tag if OF_A_KEY.contains(&tag) && !fingerprints.is_empty() => {}
                tag => return Err(format!("it contains something other than public keys (packet {tag})")),
            }
        }
        Ok(Self { bytes, fingerprints })
    }
}

/// Fingerprint of a version 4 key (RFC 9580, 5.5.4), the only version that every gpgv knows.
fn fingerprint(key: &[u8]) -> Result<String, String> {
    if key.first() != Some(&4) {
        return Err(format!("it is a key of version {}, and gpgv verifies only version 4", key.first().unwrap_or(&0)));
    }
    let length = u16::try_from(key.len()).map_err(|_| "the key is too long")?;
    let sum = Sha1::new().chain_update([0x99_u8]).chain_update(length.to_be_bytes()).chain_update(key).finalize();
    Ok(hex::encode_upper(sum))
}

/// The content of all armoured blocks of that kind, such as `SIGNATURE`. Their optional CRC protects nothing here and
/// is not checked (RFC 9580, 6.1).
pub(super) fn dearmour(text: &str, kind: &str) -> Result<Vec<u8>, String> {
    let (begin, end) = (format!("-----BEGIN PGP {kind}-----"), format!("-----END PGP {kind}-----"));
    let mut lines = text.lines().map(str::trim);
    let mut bytes = Vec::new();
    while lines.by_ref().any(|line| line == begin) {
        let mut block: Vec<&str> = Vec::new();
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                Some(line) => block.push(line),
                None => return Err(format!("`{end}` is missing")),
            }
        }
        // Headers such as `Comment: ...` end with an empty line.
        let start = block.iter().position(|line| line.is_empty()).map_or(0, |empty| empty + 1);
        let data: String = block[start..].iter().filter(|line| !is_crc(line)).copied().collect();
        bytes.extend(STANDARD.decode(data).map_err(|error| format!("its base64 is damaged: {error}"))?);
    }
    match bytes.is_empty() {
        true => Err(format!("it has no `{begin}`")),
        false => Ok(bytes),
    }
}

fn is_crc(line: &str) -> bool {
    line.len() == 5 && line.starts_with('=')
}

/// Splits bytes into packets (RFC 9580, 4.2), all of them of known length.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, String> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (tag, header, length) = header(rest).ok_or("it is not in OpenPGP's format")?;
        let end = header.checked_add(length).filter(|end| *end <= rest.len()).ok_or("it is cut off")?;
        out.push(Packet { tag, body: &rest[header..end], whole: &rest[..end] });
        rest = &rest[end..];
    }
    Ok(out)
}

/// A packet's type, and the lengths of its header and its content. None if it is not a packet, or one in parts: those
/// hold only data.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let number = |from: usize, count: usize| {
        let bytes = bytes.get(from..from + count)?;
        Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    };
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return None;
    }
    if first & 0x40 == 0 {
        // The legacy format: the last two bits say how long the length is.
        let count = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        return Some(((first >> 2) & 0xf, 1 + count, number(1, count)?));
    }
    let tag = first & 0x3f;
    match number(1, 1)? {
        length @ 0..192 => Some((tag, 2, length)),
        192..224 => Some((tag, 3, number(1, 2)? - (192 << 8) + 192)),
        255 => Some((tag, 6, number(2, 4)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_every_length_are_split() {
        for (start, length) in [
            (vec![0x88, 3], 3),
            (vec![0x89, 1, 0], 256),
            (vec![0x8a, 0, 1, 0, 0], 65536),
            (vec![0xc2, 191], 191),
            (vec![0xc2, 192, 0], 192),
            (vec![0xc2, 223, 255], 8383),
            (vec![0xc2, 255, 0, 0, 1, 0], 256),
        ] {
            let mut bytes = [start.clone(), vec![7; length]].concat();
            bytes.extend([0xce, 1, 9]);
            let found: Vec<_> = packets(&bytes).unwrap().iter().map(|packet| (packet.tag, packet.body.len(), packet.whole.len())).collect();
            assert_eq!(found, [(2, length, start.len() + length), (14, 1, 3)]);
            bytes.truncate(length);
            assert!(packets(&bytes).is_err(), "{start:?}");
        }
        for bad in [&b"text"[..], &[0xc2], &[0xc2, 224, 1], &[0x8b, 1], &[0xc2, 255, 0], &[0xc2, 255, 255, 255, 255, 255]] {
            assert!(packets(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn armour_of_all_blocks_is_read() {
        let block = |data: &str| format!("-----BEGIN PGP X-----\r\nComment: =abcd\r\n\r\n{data}\r\n=abcd\r\n-----END PGP X-----\r\n");
        let text = format!("about\n{}between\n{}after", block("AQ\r\nI="), block("Aw=="));
        assert_eq!(dearmour(&text, "X").unwrap(), [1, 2, 3]);
        assert_eq!(dearmour("-----BEGIN PGP X-----\nAQID\n-----END PGP X-----", "X").unwrap(), [1, 2, 3]);
        assert!(dearmour(&text, "Y").unwrap_err().contains("BEGIN PGP Y"));
        assert!(dearmour(&block("A!=="), "X").unwrap_err().contains("base64"));
        assert!(dearmour("-----BEGIN PGP X-----\n\nAQID\n", "X").unwrap_err().contains("END PGP X"));
    }
}
