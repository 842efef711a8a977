//! Requests to a guest, over a [`Link`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use labctl_wire::{
    ArmedProcess, CHUNK, Death, Exec, FromAgent, Identity, ModuleCall, ModuleReply, Put, Reply, Request, Stream, ToAgent, UnitState, WINDOW,
};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Exchange, GuestError, Link};

/// A guest's agent.
#[derive(Debug, Clone)]
pub struct Agent {
    link: Link,
}

/// A program's output, and how it exited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + signal number if a signal killed it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Agent {
    /// The agent behind `link`.
    pub fn new(link: Link) -> Self {
        Self { link }
    }

    /// The channel.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Makes a request whose answer has no data.
    pub async fn ask(&self, request: Request) -> Result<Reply, GuestError> {
        let mut exchange = self.link.start(request)?;
        loop {
            if let FromAgent::Done { result, .. } = exchange.next().await? {
                return Ok(result?);
            }
        }
    }

    async fn ask_done(&self, request: Request) -> Result<(), GuestError> {
        match self.ask(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// One round trip.
    pub async fn ping(&self) -> Result<(), GuestError> {
        self.ask_done(Request::Ping).await
    }

    /// Powers the guest off; returns once that has started.
    pub async fn power_off(&self) -> Result<(), GuestError> {
        self.ask_done(Request::PowerOff).await
    }

    /// Reboots the guest; returns once that has started.
    pub async fn reboot(&self) -> Result<(), GuestError> {
        self.ask_done(Request::Reboot).await
    }

    /// Gives the guest its identity.
    pub async fn take_identity(&self, identity: Identity) -> Result<(), GuestError> {
        self.ask_done(Request::TakeIdentity(Box::new(identity))).await
    }

    /// Prepares the guest for being saved as a template.
    pub async fn become_template(&self) -> Result<(), GuestError> {
        self.ask_done(Request::BecomeTemplate).await
    }

    /// Sets the time in a guest that was restored from a snapshot, and gives it its own random bytes.
    pub async fn wake(&self, entropy: Vec<u8>, clock_ns: u64) -> Result<(), GuestError> {
        self.ask_done(Request::Wake { entropy: ByteBuf::from(entropy), clock_ns }).await
    }

    /// Waits until the guest has finished booting; returns systemd's state and the failed units.
    pub async fn await_booted(&self) -> Result<(String, Vec<String>), GuestError> {
        match self.ask(Request::AwaitBooted).await? {
            Reply::Booted { state, failed } => Ok((state, failed)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ansible's facts.
    pub async fn facts(&self) -> Result<serde_json::Map<String, serde_json::Value>, GuestError> {
        match self.ask(Request::Facts).await? {
            Reply::Facts(facts) => Ok(facts),
            other => Err(unexpected(&other)),
        }
    }

    /// States of systemd units.
    pub async fn units(&self, units: Vec<String>) -> Result<Vec<UnitState>, GuestError> {
        match self.ask(Request::Units { units }).await? {
            Reply::Units(states) => Ok(states),
            other => Err(unexpected(&other)),
        }
    }

    /// Holds the main process of each unit until [`Agent::fire`] with the same `shot`. Changes nothing in the guest.
    pub async fn arm(&self, shot: u64, units: Vec<String>) -> Result<Vec<ArmedProcess>, GuestError> {
        match self.ask(Request::Arm { shot, units }).await? {
            Reply::Armed(armed) => Ok(armed),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends the signal of that number to every process held for `shot`, and lets go of them.
    pub async fn fire(&self, shot: u64, signal: i32) -> Result<Vec<Death>, GuestError> {
        match self.ask(Request::Fire { shot, signal }).await? {
            Reply::Fired(deaths) => Ok(deaths),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a task module.
    pub async fn module(&self, call: ModuleCall) -> Result<ModuleReply, GuestError> {
        match self.ask(Request::Module(Box::new(call))).await? {
            Reply::Module(reply) => Ok(*reply),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a program; the caller handles its streams.
    pub fn exec(&self, exec: Exec) -> Result<Exchange, GuestError> {
        self.link.start(Request::Exec(exec))
    }

    /// Runs a program without input and collects its output, at most `limit` bytes of each stream (the rest is read and discarded).
    pub async fn output(&self, exec: Exec, limit: usize) -> Result<Output, GuestError> {
        let mut exchange = self.exec(exec)?;
        let mut output = Output::default();
        loop {
            match exchange.next().await? {
                FromAgent::Data { id, stream, bytes } => {
                    let kept = match stream {
                        Stream::Out => &mut output.stdout,
                        Stream::Err => &mut output.stderr,
                    };
                    let room = limit.saturating_sub(kept.len());
                    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    exchange.send(credit(id, bytes.len()))?;
                }
                FromAgent::Done { result, .. } => match result? {
                    Reply::Exited { code, .. } => return Ok(Output { code, ..output }),
                    other => return Err(unexpected(&other)),
                },
                FromAgent::Credit { .. } | FromAgent::Ready { .. } => {}
            }
        }
    }

    /// Writes a file in the guest from `source`, which must supply exactly `put.size` bytes; returns the SHA-256 that the guest computed.
    pub async fn put(&self, put: Put, mut source: impl AsyncRead + Unpin) -> Result<String, GuestError> {
        let name = put.path.clone();
        let mut exchange = self.link.start(Request::Put(put))?;
        let id = exchange.id();
        let mut window = WINDOW;
        let mut ended = false;
        loop {
            if !ended && window >= CHUNK {
                let mut chunk = vec![0; CHUNK];
                let length = source.read(&mut chunk).await.map_err(|why| local(&name, &why))?;
                chunk.truncate(length);
                window -= length;
                ended = length == 0;
                exchange.send(if ended { ToAgent::End { id } } else { ToAgent::Data { id, bytes: ByteBuf::from(chunk) } })?;
                continue;
            }
            match exchange.next().await? {
                FromAgent::Credit { bytes, .. } => window += bytes as usize,
                FromAgent::Done { result, .. } => match result? {
                    Reply::Written { sha256 } => return Ok(sha256),
                    other => return Err(unexpected(&other)),
                },
                FromAgent::Data { .. } | FromAgent::Ready { .. } => {}
            }
        }
    }

    /// Sends a file from the host; `put.size` is filled in.
    pub async fn put_file(&self, put: Put, from: &Path) -> Result<String, GuestError> {
        let what = from.display().to_string();
        let file = tokio::fs::File::open(from).await.map_err(|why| local(&what, &why))?;
        let size = file.metadata().await.map_err(|why| local(&what, &why))?.len();
        self.put(Put { size, ..put }, file).await
    }

    /// Copies a file from the guest to `sink`, checked against the guest's SHA-256; returns length and permission bits.
    pub async fn get(&self, path: impl AsRef<OsStr>, mut sink: impl AsyncWrite + Unpin) -> Result<(u64, u32), GuestError> {
        let path = path.as_ref();
        let mut exchange = self.link.start(Request::Get { path: ByteBuf::from(path.as_bytes()) })?;
        let path = &path.display().to_string();
        let mut hash = Sha256::new();
        loop {
            match exchange.next().await? {
                FromAgent::Data { id, bytes, .. } => {
                    hash.update(&bytes);
                    sink.write_all(&bytes).await.map_err(|why| local(path, &why))?;
                    exchange.send(credit(id, bytes.len()))?;
                }
                FromAgent::Done { result, .. } => match result? {
                    Reply::Read { size, mode, sha256 } => {
                        let here = hex::encode(hash.finalize());
                        if here != sha256 {
                            return Err(GuestError::Unexpected(format!("{path}: received SHA-256 {here}, the guest read {sha256}")));
                        }
                        sink.flush().await.map_err(|why| local(path, &why))?;
                        return Ok((size, mode));
                    }
                    other => return Err(unexpected(&other)),
                },
                FromAgent::Credit { .. } | FromAgent::Ready { .. } => {}
            }
        }
    }
}

/// Acknowledges consumed output.
pub fn credit(id: u64, bytes: usize) -> ToAgent {
    ToAgent::Credit { id, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
}

pub(crate) fn unexpected(reply: &Reply) -> GuestError {
    GuestError::Unexpected(format!("{reply:?}"))
}

fn local(what: &str, why: &std::io::Error) -> GuestError {
    GuestError::Local { what: what.to_owned(), why: why.to_string() }
}
