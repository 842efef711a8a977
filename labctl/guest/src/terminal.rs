//! Puts the user's terminal into raw mode while it is attached to a guest.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Raw mode until dropped. Does nothing if standard input is not a terminal.
#[derive(Debug)]
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Enters raw mode: every key goes to the guest, including control keys.
    pub fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !rustix::termios::isatty(&stdin) {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A failure here can no longer be reported.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}
