//! Times in Ansible's formats.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time on the local clock.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) year: i32,
    pub(crate) month: i32,
    pub(crate) day: i32,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) second: i32,
    /// 0 is Sunday.
    pub(crate) weekday: i32,
    /// 0 is the first of January.
    pub(crate) yearday: i32,
    /// Seconds east of Greenwich.
    pub(crate) offset: i64,
    pub(crate) zone: String,
    pub(crate) micros: u32,
    /// Seconds since 1970.
    pub(crate) epoch: i64,
}

/// `time` on the local clock, or in UTC.
pub(crate) fn moment(time: SystemTime, utc: bool) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as libc::time_t;
    // SAFETY: an all-zero `tm` is valid; both functions fill it and read only `seconds`. The zone's name is copied at once.
    let (tm, zone) = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if utc {
            libc::gmtime_r(&raw const seconds, &raw mut tm);
        } else {
            libc::localtime_r(&raw const seconds, &raw mut tm);
        }
        let zone = match tm.tm_zone.is_null() {
            true => "UTC".to_owned(),
            false => std::ffi::CStr::from_ptr(tm.tm_zone).to_string_lossy().into_owned(),
        };
        (tm, zone)
    };
    Moment {
        year: tm.tm_year + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        weekday: tm.tm_wday,
        yearday: tm.tm_yday,
        offset: tm.tm_gmtoff,
        zone: if utc || zone == "GMT" { "UTC".to_owned() } else { zone },
        micros: since.subsec_micros(),
        epoch: since.as_secs() as i64,
    }
}

impl Moment {
    /// `2024-01-31 13:05:09.123456`.
    pub(crate) fn long(&self) -> String {
        format!("{} {}.{:06}", self.date(), self.clock(), self.micros)
    }

    /// `2024-01-31`.
    pub(crate) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `13:05:09`.
    pub(crate) fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// The suffix of files made by Ansible's `backup`, without the process id.
    pub(crate) fn backup(&self) -> String {
        format!("{}@{}~", self.date(), self.clock())
    }
}

/// A duration formatted like Python's `timedelta`: `0:00:01.234567`.
pub(crate) fn delta(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let micros = match duration.subsec_micros() {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    let days = match seconds / 86_400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    format!("{days}{}:{:02}:{:02}{micros}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Seconds since 1970 with a fraction, as in the results of `stat`.
pub(crate) fn float(seconds: i64, nanos: i64) -> f64 {
    seconds as f64 + nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_python() {
        let time = moment(UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_007), true);
        assert_eq!(time.long(), "2024-02-29 12:34:56.000007");
        assert_eq!((time.weekday, time.yearday, time.zone.as_str()), (4, 59, "UTC"));
        assert_eq!(delta(Duration::from_micros(3_661_000_001)), "1:01:01.000001");
        assert_eq!(delta(Duration::from_secs(90_000)), "1 day, 1:00:00");
    }
}
