//! Locking without poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, and continues even if a task panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
