//! Access to systemd over D-Bus on its own socket: nothing is spawned, which under emulation costs 22 ms and more each time.
//!
//! ```text
//! manager: the requests ─▶ bus: a connection ─▶ message: to bytes, reader: from bytes
//! ```

mod bus;
mod install_section;
mod manager;
mod message;
mod reader;
mod unit_files;

pub(crate) use bus::CallError;
pub(crate) use manager::{Systemd, UnitSummary, unit_name};
pub(crate) use unit_files::{UnitFiles, is_plainly_enabled};

/// For tests that play the manager.
#[cfg(test)]
pub(crate) mod test_peer;
