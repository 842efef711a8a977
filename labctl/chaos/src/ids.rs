//! Numbers and times that identify things within one lab.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis() as u64)
}

/// A number that is unique within this lab: the wall clock in nanoseconds, plus a counter.
pub(crate) fn next_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_nanos() as u64);
    // The clock distinguishes this process from earlier ones, the counter distinguishes two calls at the same moment.
    nanoseconds.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}
