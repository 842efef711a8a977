//! One TCP connection of a guest joined to a stream on the host, with backpressure and half-close in both directions.
//!
//! ```text
//!   guest ⇄ smoltcp socket ⇄ host stream
//!     FIN  ─────────────────▶ shutdown        EOF  ─────────────────▶ FIN
//!     RST  ─────────────────▶ reset           error ────────────────▶ RST
//! ```
//! There is no TIME-WAIT: a late segment is answered with a reset, which ends whatever the guest still has of the
//! connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use smoltcp::socket::tcp::State;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::FlowLink;
use super::connection::Connection;
use super::host::HostSide;
use crate::dial::DialError;
use crate::place::{GATEWAY, Run};

/// Limit on packets taken from the switch at once.
const BATCH: usize = 64;

/// Timers further away than this are not part of an orderly close.
const SOON: Duration = Duration::from_secs(1);

/// A connection that the gateway opens and that is not yet established.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Channel for the outcome, if anyone waits for it.
    pub(crate) outcome: Option<oneshot::Sender<Result<(), DialError>>>,
    /// Deadline for the guest's reply.
    pub(crate) deadline: Instant,
}

impl Opening {
    /// Reports the failure, if anyone waits for it.
    pub(crate) fn fail(self, error: DialError) {
        if let Some(outcome) = self.outcome {
            // The caller no longer waits.
            let _ = outcome.send(Err(error));
        }
    }
}

struct Flow<H> {
    link: FlowLink,
    connection: Connection,
    host: H,
    opening: Option<Opening>,
    timer: Pin<Box<Sleep>>,
    /// The host has closed its sending side.
    host_ended: bool,
    /// The guest has closed its sending side, and the host was informed.
    host_told: bool,
    /// The guest has closed its sending side.
    guest_ended: bool,
    /// The host's stream failed; the guest gets a reset.
    broken: bool,
    packets: Vec<Bytes>,
}

enum Step {
    /// Frames for the guest.
    Send(Bytes),
    /// Both sides are done, or one was reset.
    End,
}

/// Joins the guest's connection to `host` until it ends.
pub(crate) async fn join(link: FlowLink, connection: Connection, host: impl HostSide, opening: Option<Opening>) {
    let mut flow = Flow {
        link,
        connection,
        host,
        opening,
        timer: Box::pin(sleep_until(Instant::now())),
        host_ended: false,
        host_told: false,
        guest_ended: false,
        broken: false,
        packets: Vec::with_capacity(BATCH),
    };
    loop {
        match poll_fn(|cx| flow.step(cx)).await {
            Step::Send(bytes) => {
                // A full channel slows down this flow, and with it the host's end.
                if flow.link.ingress.send(Run { from: GATEWAY, bytes }).await.is_err() {
                    flow.host.reset();
                    return;
                }
            }
            Step::End => return,
        }
    }
}

impl<H: HostSide> Flow<H> {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            let mut moved = false;
            match self.link.packets.poll_recv_many(cx, &mut self.packets, BATCH) {
                Poll::Ready(0) => {
                    // The switch dropped the flow, because its node is gone or the switch is stopping.
                    self.fail_opening(DialError::Unreachable(self.link.key.guest));
                    self.host.reset();
                    return Poll::Ready(Step::End);
                }
                Poll::Ready(_) => {
                    moved = true;
                    for packet in self.packets.drain(..) {
                        self.connection.receive(packet);
                    }
                }
                Poll::Pending => {}
            }
            self.connection.poll();
            self.note_state();
            if !self.broken {
                match self.feed_host(cx).and_then(|to| self.feed_guest(cx).map(|from| to || from)) {
                    Ok(carried) => moved |= carried,
                    Err(error) => {
                        tracing::trace!(key = ?self.link.key, %error, "the host side failed");
                        self.broken = true;
                        self.connection.socket().abort();
                    }
                }
            }
            self.connection.poll();
            let frames = self.connection.take_frames();
            if !frames.is_empty() {
                return Poll::Ready(Step::Send(frames));
            }
            if self.is_over() {
                return Poll::Ready(Step::End);
            }
            if !moved && self.wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Waits for the next timer. Ready means that the caller should poll again.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = self.connection.next_timer().map(|delay| Instant::now() + delay);
        let next = next.into_iter().chain(self.opening.as_ref().map(|opening| opening.deadline)).min();
        let Some(next) = next else { return Poll::Pending };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }

    fn note_state(&mut self) {
        let state = self.connection.socket().state();
        self.guest_ended |= matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        let Some(opening) = &self.opening else { return };
        match state {
            State::SynSent | State::SynReceived if opening.deadline > Instant::now() => {}
            State::SynSent | State::SynReceived => {
                self.fail_opening(DialError::TimedOut(self.link.key.guest));
                self.connection.socket().abort();
            }
            State::Closed => self.fail_opening(DialError::Refused(self.link.key.guest)),
            _ => {
                if let Some(outcome) = self.opening.take().and_then(|opening| opening.outcome) {
                    // The caller no longer waits, and dropping its stream ends the connection.
                    let _ = outcome.send(Ok(()));
                }
            }
        }
    }

    fn fail_opening(&mut self, error: DialError) {
        if let Some(opening) = self.opening.take() {
            opening.fail(error);
        }
    }

    /// Moves data from the guest to the host. Returns whether anything moved.
    fn feed_host(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Self { connection, host, .. } = self;
        let socket = connection.socket();
        let mut moved = false;
        while socket.can_recv() {
            let taken = socket.recv(|data| match Pin::new(&mut *host).poll_write(cx, data) {
                Poll::Ready(Ok(count)) => (count, Ok(count)),
                Poll::Ready(Err(error)) => (0, Err(error)),
                Poll::Pending => (0, Ok(0)),
            });
            match taken {
                Ok(Ok(0)) | Err(_) => break,
                Ok(Ok(_)) => moved = true,
                Ok(Err(error)) => return Err(error),
            }
        }
        if self.guest_ended && !self.host_told && socket.recv_queue() == 0 {
            match Pin::new(&mut *host).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => (self.host_told, moved) = (true, true),
                // The host has reset the connection meanwhile; its read side reports that.
                Poll::Ready(Err(_)) => self.host_told = true,
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }

    /// Moves data from the host to the guest. Returns whether anything moved.
    fn feed_guest(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Self { connection, host, .. } = self;
        let socket = connection.socket();
        let mut moved = false;
        while !self.host_ended && socket.can_send() {
            let given = socket.send(|room| {
                let mut buffer = ReadBuf::new(room);
                match Pin::new(&mut *host).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) => (buffer.filled().len(), Ok(Some(buffer.filled().len()))),
                    Poll::Ready(Err(error)) => (0, Err(error)),
                    Poll::Pending => (0, Ok(None)),
                }
            });
            match given {
                Ok(Ok(Some(0))) => {
                    self.host_ended = true;
                    socket.close();
                    moved = true;
                }
                Ok(Ok(Some(_))) => moved = true,
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(moved)
    }

    fn is_over(&mut self) -> bool {
        let state = self.connection.socket().state();
        if !matches!(state, State::Closed | State::TimeWait) {
            return false;
        }
        if self.broken || !(self.guest_ended && self.host_ended) {
            // Reset by the guest, timed out, or reset by the host.
            self.host.reset();
            return true;
        }
        // Data that the guest sent before closing may still wait for the host, and the last acknowledgement for its
        // timer.
        let acknowledged = state == State::Closed || self.connection.next_timer().is_none_or(|delay| delay > SOON);
        self.host_told && acknowledged
    }
}
