//! The user's terminal in raw mode, for as long as a guest has it.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Raw mode until dropped. Does nothing if standard input is no terminal.
#[derive(Debug)]
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Enters raw mode: every key goes to the guest, control keys included.
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
            // There is nobody left to tell if this fails.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}
