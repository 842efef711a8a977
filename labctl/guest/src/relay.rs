//! Passes a channel on: another process talks to the agent through this one, using the same protocol.
//!
//! The client chooses its own ids; here they are mapped to ids of the link. When the client disconnects, its requests are cancelled.

use std::collections::HashMap;

use labctl_wire::{FromAgent, ToAgent, Unframer, VERSION, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use crate::link::{Exchange, Link, Outbox};

/// Bytes per read.
const READ: usize = 256 << 10;

/// Relays until the client disconnects or the link is down. The agent must already be answering ([`Link::up`]).
pub async fn relay(link: Link, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
    let (mut read, write) = tokio::io::split(stream);
    let (back, queue) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_back(write, queue));
    let mut client = Client { link: link.clone(), back, open: HashMap::new(), pumps: JoinSet::new() };
    let mut unframer = Unframer::new();
    let mut buffer = vec![0; READ];
    loop {
        let length = tokio::select! {
            length = read.read(&mut buffer) => length.unwrap_or(0),
            () = link.down() => 0,
        };
        if length == 0 {
            break;
        }
        let mut messages = Vec::new();
        unframer.feed(&buffer[..length], |packet| messages.extend(packet.ok()));
        for message in messages {
            client.take(message).await;
        }
        while client.pumps.try_join_next().is_some() {}
    }
    // Stopping the pumps drops their exchanges, which cancels the requests.
    client.pumps.shutdown().await;
    drop(client);
    let _ = writer.await;
}

struct Client {
    link: Link,
    back: UnboundedSender<FromAgent>,
    /// The link's ids and ways to the agent, by the client's ids.
    open: HashMap<u64, (u64, Outbox)>,
    pumps: JoinSet<()>,
}

impl Client {
    async fn take(&mut self, message: ToAgent) {
        match message {
            ToAgent::Hello { session, .. } => self.greet(session).await,
            ToAgent::Request { id, request } => match self.link.start(request) {
                Ok(exchange) => {
                    self.open.insert(id, (exchange.id(), exchange.outbox()));
                    self.pumps.spawn(pump(id, exchange, self.back.clone()));
                }
                Err(why) => answer_failed(&self.back, id, &why),
            },
            ToAgent::Data { id, bytes } => self.pass(id, |id| ToAgent::Data { id, bytes }),
            ToAgent::End { id } => self.pass(id, |id| ToAgent::End { id }),
            ToAgent::Credit { id, bytes } => self.pass(id, |id| ToAgent::Credit { id, bytes }),
            ToAgent::Signal { id, signal } => self.pass(id, |id| ToAgent::Signal { id, signal }),
            ToAgent::Resize { id, columns, rows } => self.pass(id, |id| ToAgent::Resize { id, columns, rows }),
            ToAgent::Cancel { id } => self.pass(id, |id| ToAgent::Cancel { id }),
        }
    }

    async fn greet(&self, session: u64) {
        if let Ok((boot_id, identity)) = self.link.up().await {
            let _ = self.back.send(FromAgent::Ready { session, version: VERSION, boot_id, identity });
        }
    }

    fn pass(&self, id: u64, message: impl FnOnce(u64) -> ToAgent) {
        if let Some((id, outbox)) = self.open.get(&id) {
            let _ = outbox.send(message(*id));
        }
    }
}

/// Forwards the agent's messages of one request to the client, under the client's id.
async fn pump(id: u64, mut exchange: Exchange, back: UnboundedSender<FromAgent>) {
    loop {
        let message = match exchange.next().await {
            Ok(FromAgent::Data { stream, bytes, .. }) => FromAgent::Data { id, stream, bytes },
            Ok(FromAgent::Credit { bytes, .. }) => FromAgent::Credit { id, bytes },
            Ok(FromAgent::Done { result, .. }) => FromAgent::Done { id, result },
            Ok(FromAgent::Ready { .. }) => continue,
            Err(why) => return answer_failed(&back, id, &why),
        };
        let last = matches!(message, FromAgent::Done { .. });
        if back.send(message).is_err() || last {
            return;
        }
    }
}

fn answer_failed(back: &UnboundedSender<FromAgent>, id: u64, why: &crate::GuestError) {
    let error = labctl_wire::AgentError { kind: labctl_wire::ErrorKind::Cancelled, message: why.to_string() };
    // A client that has disconnected needs no answer.
    let _ = back.send(FromAgent::Done { id, result: Err(error) });
}

async fn write_back(mut stream: impl AsyncWrite + Unpin, mut queue: UnboundedReceiver<FromAgent>) {
    while let Some(message) = queue.recv().await {
        if stream.write_all(&frame(&message)).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}
