//! Virtual machines: QEMU's command line as pure functions ([`qemu::argv`]), its process ([`qemu::Qemu`]), its control
//! protocol ([`qmp`]), disks ([`disk`]), saved memory ([`stream`], [`check`]) and the proof of an accelerator ([`proof`]).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod accel;
mod cache;
pub mod check;
pub mod disk;
pub mod error;
pub mod proof;
pub mod qemu;
pub mod qmp;
pub mod stream;

pub use error::MachineError;
