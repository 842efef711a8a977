//! One channel to an agent, shared by any number of requests.
//!
//! ```text
//!          connect + Hello           Ready{session}
//! Down ───────────────────▶ (waits) ───────────────▶ Up
//!  ▲                           ▲   Ready{session 0}    │
//!  │                           └───────────────────────┤  the guest rebooted or the agent restarted: requests fail, Hello again
//!  └───────────────────────────────────────────────────┘  the stream ended: requests fail
//! ```
//!
//! One task owns the stream's write side, one its read side.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labctl_wire::{FromAgent, Request, ToAgent, Unframer, VERSION, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::GuestError;
use crate::table::{Heard, Table};
use crate::window::Window;

/// Bytes per read.
const READ: usize = 256 << 10;

/// Whether the agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// The stream is closed for good.
    Down,
    /// The stream is open; the agent has not answered yet.
    Waiting,
    /// The agent answers.
    Up {
        /// The guest's boot; changes with each boot.
        boot_id: String,
        /// Digest of the guest's identity.
        identity: String,
    },
    /// The agent answers, but with a different version of the protocol.
    Foreign(u32),
}

/// A channel to an agent; cheap to clone. It lives as long as its stream.
#[derive(Debug, Clone)]
pub struct Link {
    out: UnboundedSender<ToAgent>,
    table: Arc<Mutex<Table>>,
    state: watch::Receiver<LinkState>,
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// A channel over a unix socket (QEMU's side of the virtio-serial port, or the supervisor).
    pub async fn connect(socket: &PathBuf) -> std::io::Result<Self> {
        Ok(Self::over(UnixStream::connect(socket).await?))
    }

    /// A channel over any stream.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (out, queue) = mpsc::unbounded_channel();
        let (announce, state) = watch::channel(LinkState::Waiting);
        let table = Arc::new(Mutex::new(Table::default()));
        let session = rand::random_range(1..=u64::MAX);
        // Cannot fail: the task below holds the receiving end of the queue.
        let _ = out.send(ToAgent::Hello { session, version: VERSION });
        tokio::spawn(write_all(write, queue));
        let reader = Reader { session, out: out.downgrade(), table: table.clone(), announce };
        tokio::spawn(reader.read_all(read));
        Self { out, table, state }
    }

    /// The current state and its changes.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Waits until the agent answers; returns its boot id and identity digest.
    pub async fn up(&self) -> Result<(String, String), GuestError> {
        let mut state = self.state();
        let reached = state.wait_for(|state| !matches!(state, LinkState::Waiting)).await;
        match reached.map_err(|_| GuestError::Disconnected)?.clone() {
            LinkState::Up { boot_id, identity } => Ok((boot_id, identity)),
            LinkState::Foreign(found) => Err(GuestError::Version { found, wanted: VERSION }),
            LinkState::Down | LinkState::Waiting => Err(GuestError::Disconnected),
        }
    }

    /// [`Link::up`] with a time limit.
    pub async fn up_within(&self, limit: Duration) -> Result<(String, String), GuestError> {
        timeout(limit, self.up()).await.map_err(|_| GuestError::Silent(limit))?
    }

    /// Waits until the channel is gone.
    pub async fn down(&self) {
        let mut state = self.state();
        // An error means that the reading task has exited, and the stream with it.
        let _ = state.wait_for(|state| *state == LinkState::Down).await;
    }

    /// Starts a request. Fails at once if the agent is not answering.
    pub fn start(&self, request: Request) -> Result<Exchange, GuestError> {
        if !matches!(*self.state.borrow(), LinkState::Up { .. }) {
            return Err(GuestError::Disconnected);
        }
        let (owner, heard) = mpsc::unbounded_channel();
        let window = Arc::<Window>::default();
        let id = lock(&self.table).open(owner, window.clone());
        self.out.send(ToAgent::Request { id, request }).map_err(|_| GuestError::Disconnected)?;
        let out = Outbox { out: self.out.clone(), window };
        Ok(Exchange { id, link: self.clone(), out, heard, done: false })
    }
}

/// The way of one request's messages to the agent; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    out: UnboundedSender<ToAgent>,
    window: Arc<Window>,
}

impl Outbox {
    /// Sends a message for this request.
    pub fn send(&self, message: ToAgent) -> Result<(), GuestError> {
        // First: the agent may answer before this returns.
        self.window.sends(&message);
        self.out.send(message).map_err(|_| GuestError::Disconnected)
    }
}

/// A request in progress. If dropped before it is done, it is cancelled in the guest.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    link: Link,
    out: Outbox,
    heard: UnboundedReceiver<Heard>,
    done: bool,
}

impl Exchange {
    /// The id that messages to the agent must carry.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends a message for this request.
    pub fn send(&self, message: ToAgent) -> Result<(), GuestError> {
        self.out.send(message)
    }

    /// A way to send that outlives borrows of the exchange.
    pub fn outbox(&self) -> Outbox {
        self.out.clone()
    }

    /// The agent's next message. There are none after `Done` or an error.
    pub async fn next(&mut self) -> Result<FromAgent, GuestError> {
        let heard = self.heard.recv().await.unwrap_or(Err(GuestError::Disconnected));
        self.done = matches!(heard, Err(_) | Ok(FromAgent::Done { .. }));
        heard
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.done && lock(&self.link.table).close(self.id) {
            // If the stream is gone, the agent has already dropped the request.
            let _ = self.link.out.send(ToAgent::Cancel { id: self.id });
        }
    }
}

async fn write_all(mut stream: impl AsyncWrite + Unpin, mut queue: UnboundedReceiver<ToAgent>) {
    while let Some(message) = queue.recv().await {
        let mut packets = frame(&message);
        // Everything already queued goes out in the same write.
        while packets.len() < READ {
            let Ok(next) = queue.try_recv() else { break };
            packets.extend(frame(&next));
        }
        if stream.write_all(&packets).await.is_err() {
            break;
        }
    }
    // Dropping the receiving end makes every later request fail.
    let _ = stream.shutdown().await;
}

struct Reader {
    session: u64,
    out: mpsc::WeakUnboundedSender<ToAgent>,
    table: Arc<Mutex<Table>>,
    announce: watch::Sender<LinkState>,
}

impl Reader {
    async fn read_all(self, mut stream: impl AsyncRead + Unpin) {
        let mut unframer = Unframer::new();
        let mut buffer = vec![0; READ];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => unframer.feed(&buffer[..length], |packet| {
                    // A damaged packet is the partial packet of an earlier session.
                    if let Ok(message) = packet {
                        self.take(message);
                    }
                }),
            }
        }
        lock(&self.table).fail_all(&GuestError::Disconnected);
        self.announce.send_replace(LinkState::Down);
    }

    fn take(&self, message: FromAgent) {
        let FromAgent::Ready { session, version, boot_id, identity } = message else {
            let broken = lock(&self.table).hand(message);
            if let Some((id, out)) = broken.zip(self.out.upgrade()) {
                let _ = out.send(ToAgent::Cancel { id });
            }
            return;
        };
        if session == self.session {
            let state = if version == VERSION { LinkState::Up { boot_id, identity } } else { LinkState::Foreign(version) };
            self.announce.send_replace(state);
        } else if session == 0 {
            // A new agent. If it has not read our `Hello` yet, it will answer that one; a second one does no harm.
            self.announce.send_replace(LinkState::Waiting);
            lock(&self.table).fail_all(&GuestError::Restarted);
            if let Some(out) = self.out.upgrade() {
                let _ = out.send(ToAgent::Hello { session: self.session, version: VERSION });
            }
        }
    }
}
