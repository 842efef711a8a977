//! Lossless conversion of bytes to text and back: edited files need not be UTF-8 throughout.
//!
//! A byte that is not UTF-8 becomes a character of the last private-use plane, as Python's `surrogateescape` does with surrogates. Valid
//! UTF-8 is unchanged, so that patterns and new lines mean the same in every file.

/// The byte 0x00 as a character; if a file really contains one of these 256 characters, it is split into bytes, so that it is restored
/// too.
const BASE: u32 = 0x10_FE00;

/// The bytes as text; [`encode`] converts it back.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match as_byte(c) {
                None => text.push(c),
                Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(as_char(byte))),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push(as_char(*byte)));
    }
    text
}

/// The original bytes of text from [`decode`], possibly edited since.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match as_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn as_byte(c: char) -> Option<u8> {
    u32::from(c).checked_sub(BASE).and_then(|offset| u8::try_from(offset).ok())
}

fn as_char(byte: u8) -> char {
    char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&b"caf\xe9 \xff"[..], "größe \u{10FEFF} \u{10FE41}".as_bytes(), b"", b"\xf4\x8f\xb8", &all] {
            assert_eq!(encode(&decode(bytes)), bytes);
        }
        assert_eq!(decode("größe".as_bytes()), "größe");
    }

    #[test]
    fn new_text_is_utf8_among_wrong_bytes() {
        let text = decode(b"\xe9\n").replace('\n', "é\n");
        assert_eq!(encode(&text), b"\xe9\xc3\xa9\n");
    }
}
