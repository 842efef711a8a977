//! The table of drivers.

use std::sync::{PoisonError, RwLock};

use crate::MachineError;
use crate::driver::Driver;
use crate::driver_name::DriverName;
use crate::machine::{Machine, is_running};
use crate::qemu::QEMU;

/// The drivers of this program: one line for each.
const BUILT_IN: [&dyn Driver; 1] = [&QEMU];

/// Drivers that were added since the program started.
static ADDED: RwLock<Vec<&'static dyn Driver>> = RwLock::new(Vec::new());

/// Adds a driver that is not built in, such as a test's.
pub fn register(driver: &'static dyn Driver) {
    ADDED.write().unwrap_or_else(PoisonError::into_inner).push(driver);
}

/// The driver of that name. Fails with [`MachineError::NoDriver`], which names those that there are.
pub fn find(name: &DriverName) -> Result<&'static dyn Driver, MachineError> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    let all = || BUILT_IN.iter().chain(added.iter());
    all().copied().find(|driver| driver.name() == *name).ok_or_else(|| MachineError::NoDriver {
        name: name.clone(),
        known: all().map(|driver| driver.name().to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// The driver of a machine.
pub fn of(machine: &Machine) -> Result<&'static dyn Driver, MachineError> {
    find(&machine.driver)
}

/// Whether a machine runs. Without its driver, its lock tells.
pub fn runs(machine: &Machine) -> bool {
    let found = match of(machine) {
        Ok(driver) => driver.is_running(machine),
        Err(_) => is_running(&machine.files),
    };
    found.unwrap_or(false)
}
