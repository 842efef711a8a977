//! The table of drivers.

use std::sync::{PoisonError, RwLock};

use super::{Driver, DriverName};
use crate::MachineError;
use crate::qemu::QEMU;

/// The drivers of this program: one line for each.
static DRIVERS: RwLock<Vec<&'static dyn Driver>> = RwLock::new(Vec::new());

/// The drivers that are always there.
const BUILT_IN: [&'static dyn Driver; 1] = [&QEMU];

/// Adds a driver that is not built in.
pub fn register(driver: &'static dyn Driver) {
    DRIVERS.write().unwrap_or_else(PoisonError::into_inner).push(driver);
}

/// The driver of that name. Fails with [`MachineError::NoDriver`], which names those that there are.
pub fn find(name: &DriverName) -> Result<&'static dyn Driver, MachineError> {
    let registered = DRIVERS.read().unwrap_or_else(PoisonError::into_inner);
    let all = || BUILT_IN.iter().chain(registered.iter());
    all().copied().find(|driver| driver.name() == *name).ok_or_else(|| MachineError::NoDriver {
        name: name.clone(),
        known: all().map(|driver| driver.name().to_string()).collect::<Vec<_>>().join(", "),
    })
}
