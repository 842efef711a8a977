//! Accelerators: what executes the instructions of a guest.

use serde::{Deserialize, Serialize};

/// What executes a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// Linux's hypervisor.
    Kvm,
    /// macOS's hypervisor.
    Hvf,
    /// Emulation: works everywhere, ten times slower.
    Tcg,
}

impl Accel {
    /// The name that QEMU uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "tcg",
        }
    }
}

/// The result of a probe, kept in the cache file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The accelerator to use.
    pub accel: Accel,
    /// Why no faster one is used; empty if there is none.
    pub why: String,
    /// The conditions under which this was found: kernel, driver, device.
    pub circumstances: String,
}
