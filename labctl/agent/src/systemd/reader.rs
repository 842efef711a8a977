//! Bytes to D-Bus messages: the counterpart of [`super::message`].

use std::io::{self, Read};

use super::message::{Arg, Message};

/// Longest message that is accepted, in bytes (the specification's own limit is 128 MiB).
const LONGEST: usize = 16 << 20;

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("D-Bus: {what}"))
}

/// Reads values from a message. Alignment counts from the start of the message; both parts start at a multiple of 8.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| broken("a message ends too early"))?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        let at = self.at.next_multiple_of(to);
        self.take(at - self.at).map(drop)
    }

    fn number<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.align(N)?;
        let mut number = [0; N];
        number.copy_from_slice(self.take(N)?);
        Ok(number)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    fn chars(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// Reads one value of the first complete type in `signature`; also returns the rest of the signature.
    fn value<'s>(&mut self, signature: &'s [u8], depth: usize) -> io::Result<(Arg, &'s [u8])> {
        if depth > 32 {
            return Err(broken("a value is nested too deep"));
        }
        let (kind, rest) = signature.split_first().ok_or_else(|| broken("a signature ends too early"))?;
        let value = match kind {
            b'y' => Arg::Unsigned(self.take(1)?[0].into()),
            b'b' => Arg::Bool(self.u32()? != 0),
            b'n' => Arg::Signed(i16::from_le_bytes(self.number()?).into()),
            b'q' => Arg::Unsigned(u16::from_le_bytes(self.number()?).into()),
            b'i' => Arg::Signed(i32::from_le_bytes(self.number()?).into()),
            b'u' | b'h' => Arg::Unsigned(self.u32()?.into()),
            b'x' => Arg::Signed(i64::from_le_bytes(self.number()?)),
            b't' => Arg::Unsigned(u64::from_le_bytes(self.number()?)),
            b'd' => Arg::Double(f64::from_le_bytes(self.number()?)),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                Arg::Text(self.chars(length)?)
            }
            b'g' => {
                let length = self.take(1)?[0].into();
                Arg::Text(self.chars(length)?)
            }
            b'v' => {
                let length = self.take(1)?[0].into();
                let inner = self.chars(length)?;
                self.value(inner.as_bytes(), depth + 1)?.0
            }
            b'a' => {
                let length = self.u32()? as usize;
                self.align(alignment(rest))?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
                let end = end.ok_or_else(|| broken("an array ends too early"))?;
                let mut items = Vec::new();
                while self.at < end {
                    let before = self.at;
                    items.push(self.value(rest, depth + 1)?.0);
                    if self.at == before {
                        return Err(broken("an array of empty items"));
                    }
                }
                let after = skip(rest, 0)?;
                return Ok((Arg::List(items), after));
            }
            b'(' | b'{' => {
                self.align(8)?;
                let close = if *kind == b'(' { b')' } else { b'}' };
                let (mut items, mut inner) = (Vec::new(), rest);
                while inner.first().is_some_and(|next| *next != close) {
                    let (item, after) = self.value(inner, depth + 1)?;
                    items.push(item);
                    inner = after;
                }
                let after = inner.get(1..).ok_or_else(|| broken("a structure is not closed"))?;
                return Ok((Arg::List(items), after));
            }
            other => return Err(broken(&format!("unknown type '{}'", char::from(*other)))),
        };
        Ok((value, rest))
    }
}

pub(super) fn alignment(signature: &[u8]) -> usize {
    match signature.first() {
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
        Some(b'n' | b'q') => 2,
        _ => 1,
    }
}

/// What follows the first complete type.
pub(super) fn skip(signature: &[u8], depth: usize) -> io::Result<&[u8]> {
    let (kind, rest) = signature.split_first().ok_or_else(|| broken("a signature ends too early"))?;
    match kind {
        _ if depth > 32 => Err(broken("a signature is nested too deep")),
        b'a' => skip(rest, depth + 1),
        b'(' | b'{' => {
            let mut inner = rest;
            while !matches!(inner.first(), Some(b')' | b'}') | None) {
                inner = skip(inner, depth + 1)?;
            }
            inner.get(1..).ok_or_else(|| broken("a structure is not closed"))
        }
        _ => Ok(rest),
    }
}

/// Reads one message.
pub(crate) fn read_message(stream: &mut impl Read) -> io::Result<Message> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    if head[0] != b'l' {
        return Err(broken("a message is not little-endian"));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (body, serial, fields) = (word(4) as usize, word(8), word(12) as usize);
    let length = fields.next_multiple_of(8) + body;
    if body > LONGEST || fields > LONGEST {
        return Err(broken("a message is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest)?;
    let mut message = Message { kind: head[1], serial, ..Message::default() };
    let mut signature = String::new();
    let mut reader = Reader { bytes: &rest[..fields], at: 0 };
    while reader.at < fields {
        let (field, _) = reader.value(b"(yv)", 0)?;
        let [Arg::Unsigned(code), value] = field.list() else {
            continue;
        };
        let text = value.text().to_owned();
        match (code, value) {
            (1, _) => message.path = text,
            (2, _) => message.interface = text,
            (3, _) => message.member = text,
            (4, _) => message.error = text,
            (5, Arg::Unsigned(serial)) => message.reply_to = *serial as u32,
            (8, _) => signature = text,
            _ => {}
        }
    }
    let mut reader = Reader { bytes: &rest[fields.next_multiple_of(8)..], at: 0 };
    let mut left = signature.as_bytes();
    while !left.is_empty() {
        let (value, after) = reader.value(left, 0)?;
        message.body.push(value);
        left = after;
    }
    Ok(message)
}
