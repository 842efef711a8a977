//! A blocking connection to a D-Bus peer over a unix socket (D-Bus Specification, "Authentication Protocol", EXTERNAL).

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::message::{Arg, Body, Message, marshal};
use super::reader::{broken, read_message};

/// A connection to a D-Bus peer.
#[derive(Debug)]
pub(crate) struct Bus {
    /// Buffered: the answer to AUTH and message headers are short.
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Signals that arrived while waiting for a reply.
    pub(crate) signals: Vec<Message>,
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
    /// Connects and authenticates as the user of this process. Reads time out after `patience`.
    pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        // The digits of the uid in ASCII, as hexadecimal.
        let uid: String = rustix::process::geteuid().as_raw().to_string().chars().map(|digit| format!("3{digit}")).collect();
        // BEGIN must be sent together with AUTH: if systemd reads BEGIN together with a first call, it does not process that call until
        // more data comes.
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > 1024 {
                return Err(broken("the answer to AUTH has no end"));
            }
        }
        if !answer.starts_with(b"OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "D-Bus: authentication was refused"));
        }
        Ok(Self { stream, serial: 0, signals: Vec::new() })
    }

    /// Calls a method and waits for its reply.
    pub(crate) fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &Body,
    ) -> Result<Vec<Arg>, CallError> {
        let serial = self.send(destination, path, interface, member, body).map_err(CallError::Io)?;
        self.reply(serial)
    }

    /// Sends a call without waiting, so that many can be answered in one round trip. Pass the result to [`Bus::reply`], in the order of
    /// the calls.
    pub(crate) fn send(&mut self, destination: &str, path: &str, interface: &str, member: &str, body: &Body) -> io::Result<u32> {
        self.serial += 1;
        let fields = [(1, 'o', path), (2, 's', interface), (3, 's', member), (6, 's', destination)];
        self.stream.get_mut().write_all(&marshal(1, self.serial, 0, &fields, body))?;
        Ok(self.serial)
    }

    /// Waits for the reply to a call that was sent. Earlier replies to other calls are discarded.
    pub(crate) fn reply(&mut self, serial: u32) -> Result<Vec<Arg>, CallError> {
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

    /// Sets the timeout of reads from now on.
    pub(crate) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// Closes the connection: calls fail from now on.
    pub(crate) fn close(&mut self) {
        // This fails only if the peer closed it first.
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// The next message of any kind.
    pub(crate) fn next(&mut self) -> io::Result<Message> {
        read_message(&mut self.stream)
    }
}
