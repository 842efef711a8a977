//! Access and modification times requested by a task.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use serde_json::Value;

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;
use crate::modules::system::clock;

#[derive(Debug, Clone, Copy)]
enum Time {
    Preserve,
    Now,
    At(i64),
}

/// What to do with a file's times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    modified: Time,
    accessed: Time,
}

impl Times {
    /// From `modification_time` and `access_time`; by default, `touched` files get the current time and others keep theirs.
    pub(crate) fn parse(task: &Task<'_>, touched: bool) -> Result<Self, Fault> {
        let read = |name: &str| match task.args.filled(name) {
            None if touched => Ok(Time::Now),
            None | Some("preserve") => Ok(Time::Preserve),
            Some("now") => Ok(Time::Now),
            Some(text) => {
                let format = task.args.str(&format!("{name}_format")).to_owned();
                parse(text, &format).map(Time::At).ok_or_else(|| {
                    Fault::from(format!(
                        "Error while obtaining timestamp for time {text} using format {format}: time data '{text}' does not match format '{format}'"
                    ))
                })
            }
        };
        Ok(Self { modified: read("modification_time")?, accessed: read("access_time")? })
    }

    /// Sets the times; returns whether that changed anything.
    pub(crate) fn enforce(self, path: &Path, check: bool, before: &mut Value, after: &mut Value) -> Result<bool, Fault> {
        if matches!((self.modified, self.accessed), (Time::Preserve, Time::Preserve)) {
            return Ok(false);
        }
        let meta = fs::metadata(path).attempt("inspect", path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut changed = false;
        let mut wanted = |key: &str, time: Time, seconds: i64, nanos: i64| {
            let time = match time {
                Time::Preserve => {
                    return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
                }
                Time::Now => Timespec { tv_sec: now.as_secs() as i64, tv_nsec: now.subsec_nanos().into() },
                Time::At(seconds) => Timespec { tv_sec: seconds, tv_nsec: 0 },
            };
            if (time.tv_sec, time.tv_nsec) != (seconds, nanos) {
                changed = true;
                before[key] = clock::float(seconds, nanos).into();
                after[key] = clock::float(time.tv_sec, time.tv_nsec).into();
            }
            time
        };
        let times = Timestamps {
            last_modification: wanted("mtime", self.modified, meta.mtime(), meta.mtime_nsec()),
            last_access: wanted("atime", self.accessed, meta.atime(), meta.atime_nsec()),
        };
        if changed && !check {
            utimensat(CWD, path, &times, AtFlags::empty()).attempt("set the times of", path)?;
        }
        Ok(changed)
    }
}

/// Parses a time in the local zone by a `strptime` format.
fn parse(text: &str, format: &str) -> Option<i64> {
    let text = std::ffi::CString::new(text).ok()?;
    let format = std::ffi::CString::new(format).ok()?;
    // SAFETY: an all-zero `tm` is valid; both strings end with a zero byte and outlive the calls.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        tm.tm_isdst = -1;
        let end = libc::strptime(text.as_ptr(), format.as_ptr(), &raw mut tm);
        if end.is_null() || *end != 0 {
            return None;
        }
        Some(libc::mktime(&raw mut tm))
    }
}
