//! Just enough of D-Bus to talk to systemd: marshalling and blocking calls over a unix socket.
//!
//! After the D-Bus Specification, "Message Protocol" and "Authentication Protocol" (EXTERNAL). Little-endian only: the agent
//! runs on x86-64, and a peer of the same machine answers in kind.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest message that is taken, in bytes (the specification's own limit is 128 MiB).
const LONGEST: usize = 16 << 20;

/// A value on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arg {
    Bool(bool),
    /// Every unsigned integer.
    Unsigned(u64),
    /// Every signed integer.
    Signed(i64),
    Double(f64),
    /// Strings, object paths and signatures.
    Text(String),
    /// Arrays, structures and dictionary entries.
    List(Vec<Arg>),
}

impl Arg {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub(super) fn list(&self) -> &[Arg] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// A message that came in.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    /// 1 call, 2 reply, 3 error, 4 signal.
    pub(super) kind: u8,
    #[allow(dead_code, reason = "a peer that answers needs it; here only the tests do")]
    pub(super) serial: u32,
    pub(super) reply_to: u32,
    pub(super) path: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) body: Vec<Arg>,
}

/// Arguments of a call, marshalled as they are added.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(flag));
        self
    }

    pub(super) fn texts(mut self, texts: &[&str]) -> Self {
        self.signature.push_str("as");
        put_array(&mut self.bytes, 4, |bytes| texts.iter().for_each(|text| put_text(bytes, text)));
        self
    }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    pad(bytes, 4);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len() as u32);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn put_array(bytes: &mut Vec<u8>, align: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    put_u32(bytes, 0);
    let length_at = bytes.len() - 4;
    pad(bytes, align);
    let start = bytes.len();
    fill(bytes);
    let length = (bytes.len() - start) as u32;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Header fields: code, signature of its variant, value.
fn put_field(bytes: &mut Vec<u8>, code: u8, kind: char, text: &str) {
    pad(bytes, 8);
    bytes.extend_from_slice(&[code, 1, kind as u8, 0]);
    if kind == 'g' {
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    } else {
        put_text(bytes, text);
    }
}

/// A message as bytes. `fields` are header fields by code and type; `reply_to` is added if not 0.
pub(super) fn marshal(kind: u8, serial: u32, reply_to: u32, fields: &[(u8, char, &str)], body: &Body) -> Vec<u8> {
    let mut bytes = vec![b'l', kind, 0, 1];
    put_u32(&mut bytes, body.bytes.len() as u32);
    put_u32(&mut bytes, serial);
    put_array(&mut bytes, 8, |bytes| {
        for (code, kind, text) in fields {
            put_field(bytes, *code, *kind, text);
        }
        if reply_to != 0 {
            pad(bytes, 8);
            bytes.extend_from_slice(&[5, 1, b'u', 0]);
            put_u32(bytes, reply_to);
        }
        if !body.signature.is_empty() {
            put_field(bytes, 8, 'g', &body.signature);
        }
    });
    pad(&mut bytes, 8);
    bytes.extend_from_slice(&body.bytes);
    bytes
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("D-Bus: {what}"))
}

/// Reads values out of a message. Alignment counts from the start of the message, which both parts begin at a multiple of 8.
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

    /// One value of the first complete type in `signature`; the rest of the signature.
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
                    items.push(self.value(rest, depth + 1)?.0);
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

fn alignment(signature: &[u8]) -> usize {
    match signature.first() {
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
        Some(b'n' | b'q') => 2,
        _ => 1,
    }
}

/// What follows the first complete type.
fn skip(signature: &[u8], depth: usize) -> io::Result<&[u8]> {
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
pub(super) fn read_message(stream: &mut impl Read) -> io::Result<Message> {
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

/// A connection to a peer that speaks D-Bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while a reply was awaited.
    pub(super) signals: Vec<Message>,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    Io(io::Error),
    /// The peer's error name and text.
    Refused {
        name: String,
        text: String,
    },
}

impl std::fmt::Display for CallError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(err) => write!(formatter, "{err}"),
            Self::Refused { name, text } if text.is_empty() => formatter.write_str(name),
            Self::Refused { text, .. } => formatter.write_str(text),
        }
    }
}

impl Bus {
    /// Connects and authenticates as the user of this process. Reads wait no longer than `patience`.
    pub(super) fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid = super::text::hex(uid.as_bytes());
        // BEGIN must travel with AUTH: systemd that reads BEGIN together with a first call lets that call lie until more comes.
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > 1024 {
                return Err(broken("no end in the answer to AUTH"));
            }
        }
        if !answer.starts_with(b"OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "D-Bus: authentication was refused"));
        }
        Ok(Self { stream, serial: 0, signals: Vec::new() })
    }

    /// Calls a method and waits for its reply.
    pub(super) fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &Body,
    ) -> Result<Vec<Arg>, CallError> {
        self.serial += 1;
        let serial = self.serial;
        let fields = [(1, 'o', path), (2, 's', interface), (3, 's', member), (6, 's', destination)];
        let bytes = marshal(1, serial, 0, &fields, body);
        self.stream.write_all(&bytes).map_err(CallError::Io)?;
        loop {
            let message = self.next().map_err(CallError::Io)?;
            match message.kind {
                2 if message.reply_to == serial => return Ok(message.body),
                3 if message.reply_to == serial => {
                    let text = message.body.first().map_or("", Arg::text).to_owned();
                    return Err(CallError::Refused { name: message.error, text });
                }
                4 => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next message of any kind.
    pub(super) fn next(&mut self) -> io::Result<Message> {
        read_message(&mut self.stream)
    }
}

#[cfg(test)]
#[path = "dbus_tests.rs"]
mod tests;
