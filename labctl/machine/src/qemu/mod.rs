//! The QEMU driver.

mod argv;
mod driver;
pub mod found;
mod netdev;
mod process;
mod proof;
mod pulse;
mod qmp;
mod state;
mod version;
mod vitals;

pub use argv::{argv, program};
pub use driver::QEMU;
pub use process::Qemu;
