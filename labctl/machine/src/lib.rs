//! Virtual machines: their descriptions ([`machine`]), what runs them ([`driver`], with [`qemu`] as one, all in [`registry`]), disks ([`disk`]) and saved
//! memory ([`stream`], [`check`]).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod accel;
mod cache;
pub mod check;
pub mod disk;
pub mod driver;
pub mod driver_name;
pub mod error;
pub mod machine;
pub mod qemu;
pub mod registry;
pub mod stream;
pub mod vitals;

pub use error::MachineError;
