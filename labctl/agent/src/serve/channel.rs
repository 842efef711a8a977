//! What a running request shares with the stream's reader: input, credit, signals, cancellation.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};

use labctl_wire::{AgentError, CHUNK, ErrorKind, FromAgent, Stream, WINDOW};
use rustix::event::{EventfdFlags, eventfd};
use serde_bytes::ByteBuf;

use super::{Out, lock};

/// Input of a request, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes of standard input or of a file.
    Data(Vec<u8>),
    /// End of the input.
    End,
}

/// What the request is asked to do while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Send this signal to the process group.
    Signal(i32),
    /// Terminal size: columns, rows.
    Resize(u16, u16),
}

#[derive(Debug, Default)]
struct State {
    input: VecDeque<Input>,
    controls: VecDeque<Control>,
    /// Bytes of output that may still be sent.
    credit: usize,
    cancelled: bool,
}

/// One request's side of the stream.
pub struct Channel {
    id: u64,
    out: Out,
    state: Mutex<State>,
    changed: Condvar,
    /// Readable after a change, for requests that wait in poll(2).
    wake: OwnedFd,
}

impl Channel {
    pub(super) fn new(id: u64, out: Out) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let state = State { credit: WINDOW, ..State::default() };
        Ok(Self { id, out, state: Mutex::new(state), changed: Condvar::new(), wake })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
        // This fails only if the counter is full, and then the request is about to wake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn input(&self, input: Input) {
        self.change(|state| state.input.push_back(input));
    }

    pub(super) fn grant(&self, bytes: u32) {
        self.change(|state| state.credit += bytes as usize);
    }

    pub(super) fn signal(&self, signal: i32) {
        self.change(|state| state.controls.push_back(Control::Signal(signal)));
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.change(|state| state.controls.push_back(Control::Resize(columns, rows)));
    }

    pub(super) fn cancel(&self) {
        self.change(|state| state.cancelled = true);
    }

    /// Readable (poll(2)) after every change; [`Channel::calm`] makes it unreadable again.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Acknowledges the changes that made [`Channel::wake`] readable.
    pub fn calm(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }

    /// Whether the controller cancelled the request.
    pub fn is_cancelled(&self) -> bool {
        lock(&self.state).cancelled
    }

    /// Bytes of output that may be sent now.
    pub fn credit(&self) -> usize {
        lock(&self.state).credit
    }

    /// Controls received since the last call.
    pub fn controls(&self) -> Vec<Control> {
        lock(&self.state).controls.drain(..).collect()
    }

    /// Waits for the next input. Fails if the request is cancelled.
    pub fn next_input(&self) -> Result<Input, AgentError> {
        let mut state = lock(&self.state);
        loop {
            if state.cancelled {
                return Err(cancelled());
            }
            if let Some(input) = state.input.pop_front() {
                drop(state);
                if let Input::Data(bytes) = &input {
                    let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    self.out.send(&FromAgent::Credit { id: self.id, bytes });
                }
                return Ok(input);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends output that already has credit; at most [`CHUNK`] bytes.
    pub fn send(&self, stream: Stream, bytes: Vec<u8>) {
        debug_assert!(bytes.len() <= CHUNK, "a chunk of {} bytes", bytes.len());
        {
            let mut state = lock(&self.state);
            state.credit = state.credit.saturating_sub(bytes.len());
        }
        self.out.send(&FromAgent::Data { id: self.id, stream, bytes: ByteBuf::from(bytes) });
    }

    /// Sends output, waiting for credit. Fails if the request is cancelled.
    pub fn send_when_allowed(&self, stream: Stream, bytes: Vec<u8>) -> Result<(), AgentError> {
        {
            let mut state = lock(&self.state);
            while state.credit < bytes.len() {
                if state.cancelled {
                    return Err(cancelled());
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.send(stream, bytes);
        Ok(())
    }
}

/// The error of a request that the controller cancelled.
pub fn cancelled() -> AgentError {
    AgentError { kind: ErrorKind::Cancelled, message: "the request was cancelled".into() }
}
