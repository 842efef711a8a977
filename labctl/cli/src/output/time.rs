//! Durations in words.

use std::time::{SystemTime, UNIX_EPOCH};

/// A duration, rounded.
pub fn spell(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Seconds since then; 0 if a clock that was set back puts it in the future.
pub fn seconds_since(unix_ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(unix_ms) / 1000
}
