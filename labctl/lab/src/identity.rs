//! What is added to an identity when it is sent to a guest.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;

/// Fresh random bytes for a guest's generator.
pub fn entropy() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// The wall clock in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
