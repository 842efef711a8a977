//! Copies of folders, to a guest and from it ([`labctl_tree`]).

use std::io;

use labctl_tree::{Manifest, Passed, Pipe, Receiver, Source, TreeError};
use labctl_wire::tree::{Receive, Received, Sent};
use labctl_wire::{FromAgent, Reply, Request, ToAgent, WINDOW};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc::{self, Receiver as Queue, Sender, UnboundedReceiver, UnboundedSender};

use crate::agent::{credit, unexpected};
use crate::{Agent, Exchange, GuestError, Outbox};

/// Is told how far a copy is.
pub type Progress = Box<dyn FnMut(Passed) + Send>;

/// Batches that wait for their turn; more would only take memory.
const WAITING: usize = 4;

/// This side of the stream, for the thread that reads and writes files.
struct Batches {
    id: u64,
    out: Sender<Vec<u8>>,
    heard: UnboundedReceiver<Vec<u8>>,
    consumed: Outbox,
}

impl Pipe for Batches {
    fn send(&mut self, batch: Vec<u8>) -> io::Result<()> {
        self.out.blocking_send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let batch = self.heard.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)?;
        // A channel that is gone is noticed by the next call.
        let _ = self.consumed.send(credit(self.id, batch.len()));
        Ok(batch)
    }
}

impl Agent {
    /// Brings a tree to the guest. `stream` is the content of a manifest that has none of its own. What could not be read or written is in
    /// the result.
    pub async fn send_tree(
        &self,
        request: Receive,
        manifest: impl AsRef<Manifest> + Send + 'static,
        mut stream: Option<Box<dyn io::Read + Send>>,
        mut progress: Progress,
    ) -> Result<Received, GuestError> {
        let engine = move |pipe: &mut Batches| {
            let stream = stream.as_mut().map(|stream| &mut **stream as &mut dyn io::Read);
            labctl_tree::send(&mut Source { manifest: manifest.as_ref(), stream, progress: &mut progress }, pipe)
        };
        match self.converse(Request::ReceiveTree(Box::new(request)), engine).await? {
            (unread, Reply::Received(received)) => Ok(Received { faults: [unread, received.faults].concat(), ..received }),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Copies a tree out of the guest.
    pub async fn receive_tree(&self, path: ByteBuf, how: Receiver, mut progress: Progress) -> Result<(Received, Sent), GuestError> {
        let engine = move |pipe: &mut Batches| labctl_tree::receive(&how, pipe, &mut progress);
        match self.converse(Request::SendTree { path }, engine).await? {
            (received, Reply::Sent(sent)) => Ok((received, sent)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Runs one side of a tree's conversation in a thread of its own, the other one in the guest.
    async fn converse<T: Send + 'static>(
        &self,
        request: Request,
        engine: impl FnOnce(&mut Batches) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<(T, Reply), GuestError> {
        let mut exchange = self.link().start(request)?;
        let (out, batches) = mpsc::channel(WAITING);
        let (hand, heard) = mpsc::unbounded_channel();
        let mut pipe = Batches { id: exchange.id(), out, heard, consumed: exchange.outbox() };
        let engine = tokio::task::spawn_blocking(move || engine(&mut pipe));
        let reply = carry(&mut exchange, batches, hand).await?;
        let done = engine.await.map_err(|why| GuestError::Unexpected(why.to_string()))?;
        match (done, reply) {
            // The other side's reason comes first: this one only sees that the stream has ended.
            (Ok(_) | Err(TreeError::Ended(_)), Err(why)) => Err(why.into()),
            (Ok(done), Ok(reply)) => Ok((done, reply)),
            (Err(why), _) => Err(GuestError::Copy(why.to_string())),
        }
    }
}

type Answer = Result<Reply, labctl_wire::AgentError>;

/// Carries batches both ways, within the window, until the guest has answered. What this side's thread has not taken yet is not acknowledged, so
/// the window also limits what waits for it. Then this side's thread finds its ways closed.
async fn carry(exchange: &mut Exchange, mut batches: Queue<Vec<u8>>, hand: UnboundedSender<Vec<u8>>) -> Result<Answer, GuestError> {
    let id = exchange.id();
    let mut window = WINDOW;
    let mut open = true;
    loop {
        tokio::select! {
            message = exchange.next() => match message? {
                // A thread that has finished needs no more.
                FromAgent::Data { bytes, .. } => drop(hand.send(bytes.into_vec())),
                FromAgent::Credit { bytes, .. } => window += bytes as usize,
                FromAgent::Done { result, .. } => return Ok(result),
                FromAgent::Ready { .. } => {}
            },
            batch = batches.recv(), if open && window >= labctl_wire::CHUNK => match batch {
                Some(bytes) => {
                    window -= bytes.len();
                    exchange.send(ToAgent::Data { id, bytes: ByteBuf::from(bytes) })?;
                }
                None => {
                    // This side has finished, or has failed: then the guest's side ends with the input.
                    open = false;
                    exchange.send(ToAgent::End { id })?;
                }
            },
        }
    }
}

/// Which guest of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that something is copied from.
    From,
    /// The one that it is copied to.
    To,
}

/// Copies a tree from one guest to another one; this process only passes the stream on, so that it does not know how much there will be.
///
/// # Errors
/// With the guest that it failed at.
pub async fn between(
    from: &Agent,
    path: ByteBuf,
    to: &Agent,
    request: Receive,
    mut progress: Progress,
) -> Result<(Received, Sent), (Side, GuestError)> {
    let mut source = from.link().start(Request::SendTree { path }).map_err(at(Side::From))?;
    let mut target = to.link().start(Request::ReceiveTree(Box::new(request))).map_err(at(Side::To))?;
    let (source_id, target_id) = (source.id(), target.id());
    let (mut sent, mut received) = (None, None);
    let mut passed = Passed::default();
    // Bytes and credit pass one by one, so both windows are the window from end to end.
    while sent.is_none() || received.is_none() {
        tokio::select! {
            message = source.next(), if sent.is_none() => match message.map_err(at(Side::From))? {
                FromAgent::Data { bytes, .. } => {
                    passed.bytes += bytes.len() as u64;
                    progress(passed);
                    target.send(ToAgent::Data { id: target_id, bytes }).map_err(at(Side::To))?;
                }
                FromAgent::Credit { bytes, .. } => target.send(ToAgent::Credit { id: target_id, bytes }).map_err(at(Side::To))?,
                FromAgent::Done { result, .. } => match result.map_err(at(Side::From))? {
                    Reply::Sent(done) => sent = Some(done),
                    other => return Err((Side::From, unexpected(&other))),
                },
                FromAgent::Ready { .. } => {}
            },
            message = target.next(), if received.is_none() => match message.map_err(at(Side::To))? {
                FromAgent::Data { bytes, .. } => source.send(ToAgent::Data { id: source_id, bytes }).map_err(at(Side::From))?,
                FromAgent::Credit { bytes, .. } => source.send(ToAgent::Credit { id: source_id, bytes }).map_err(at(Side::From))?,
                FromAgent::Done { result, .. } => match result.map_err(at(Side::To))? {
                    Reply::Received(done) => received = Some(done),
                    other => return Err((Side::To, unexpected(&other))),
                },
                FromAgent::Ready { .. } => {}
            },
        }
    }
    Ok((received.unwrap_or_default(), sent.unwrap_or_default()))
}

fn at<E: Into<GuestError>>(side: Side) -> impl Fn(E) -> (Side, GuestError) {
    move |why| (side, why.into())
}
