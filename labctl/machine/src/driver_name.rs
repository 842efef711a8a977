//! Names of drivers.

use serde::{Deserialize, Serialize};

/// Name of a driver, as in descriptions and snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriverName(String);

impl DriverName {
    /// Whether it is the driver of descriptions that name none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for DriverName {
    /// QEMU: descriptions from before there were drivers name none.
    fn default() -> Self {
        Self("qemu".to_owned())
    }
}

impl From<&str> for DriverName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl std::fmt::Display for DriverName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
