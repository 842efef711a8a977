//! Virtual machines: QEMU's command line as pure functions ([`qemu::argv`]), its process ([`qemu::Qemu`]), its control
//! protocol ([`qmp`]), disks ([`disk`]), saved memory ([`stream`], [`check`]) and the accelerator probe ([`accel`]).

pub mod accel;
mod cache;
pub mod check;
pub mod disk;
pub mod error;
pub mod qemu;
pub mod qmp;
pub mod stream;

pub use error::MachineError;
