//! D-Bus messages as bytes: marshalling, according to the D-Bus Specification, "Message Protocol". Little-endian only: the agent runs on
//! x86-64, and a peer on the same machine answers in the same byte order.

/// A value on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arg {
    Bool(bool),
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    Double(f64),
    /// Strings, object paths and signatures.
    Text(String),
    /// Arrays, structures and dictionary entries.
    List(Vec<Arg>),
}

impl Arg {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub(crate) fn list(&self) -> &[Arg] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// A received message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// 1 call, 2 reply, 3 error, 4 signal.
    pub(crate) kind: u8,
    #[allow(dead_code, reason = "only a peer that replies needs it; here only the tests do")]
    pub(crate) serial: u32,
    pub(crate) reply_to: u32,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) body: Vec<Arg>,
}

/// Arguments of a call, marshalled as they are added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    /// A variant that holds a string.
    pub(crate) fn variant(mut self, text: &str) -> Self {
        self.signature.push('v');
        self.bytes.extend_from_slice(&[1, b's', 0]);
        put_text(&mut self.bytes, text);
        self
    }

    pub(crate) fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(flag));
        self
    }

    pub(crate) fn texts(mut self, texts: &[&str]) -> Self {
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

/// A message as bytes. `fields` are header fields by code and type; `reply_to` is added unless it is 0.
pub(crate) fn marshal(kind: u8, serial: u32, reply_to: u32, fields: &[(u8, char, &str)], body: &Body) -> Vec<u8> {
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

/// Values of any signature, for tests that send replies.
#[cfg(test)]
impl Body {
    pub(crate) fn of(signature: &str, values: &[Arg]) -> Self {
        let mut body = Self { signature: signature.to_owned(), bytes: Vec::new() };
        let mut left = signature.as_bytes();
        for value in values {
            left = put_value(&mut body.bytes, left, value);
        }
        assert!(left.is_empty(), "values are missing for {signature}");
        body
    }
}

/// Marshals one value of the first complete type of `signature`; returns the rest of the signature.
#[cfg(test)]
fn put_value<'s>(bytes: &mut Vec<u8>, signature: &'s [u8], value: &Arg) -> &'s [u8] {
    let (kind, rest) = signature.split_first().expect("a type");
    match (kind, value) {
        (b's' | b'o', Arg::Text(text)) => put_text(bytes, text),
        (b'u', Arg::Unsigned(number)) => put_u32(bytes, *number as u32),
        (b'b', Arg::Bool(flag)) => put_u32(bytes, u32::from(*flag)),
        (b'v', value) => {
            let kind = match value {
                Arg::Text(_) => "s",
                Arg::Unsigned(_) => "u",
                // A unit's job.
                Arg::List(_) => "(uo)",
                other => panic!("no variant of {other:?} is needed yet"),
            };
            bytes.push(kind.len() as u8);
            bytes.extend_from_slice(kind.as_bytes());
            bytes.push(0);
            put_value(bytes, kind.as_bytes(), value);
        }
        (b'a', Arg::List(items)) => {
            let after = super::reader::skip(rest, 0).expect("a type of items");
            put_array(bytes, super::reader::alignment(rest), |bytes| {
                for item in items {
                    put_value(bytes, rest, item);
                }
            });
            return after;
        }
        (b'(' | b'{', Arg::List(items)) => {
            pad(bytes, 8);
            let rest = items.iter().fold(rest, |left, item| put_value(bytes, left, item));
            return &rest[1..];
        }
        (kind, value) => panic!("{value:?} is not of type {}", char::from(*kind)),
    }
    rest
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
