//! Tests that cannot run on this host are skipped by [`skip!`], and by nothing else: `make test` lists them at its end, and fails in CI if the
//! Makefile does not allow that one by name.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes that the current test, or a part of it, is skipped: a short name for the kind of reason, and the reason, as for `format!`. The
/// test has to return by itself.
#[macro_export]
macro_rules! skip {
    ($name:literal, $($reason:tt)+) => {
        $crate::note($name, &format!($($reason)+))
    };
}

/// Prints the reason, and appends a line `NAME: TEST: REASON` to the file `$LABCTL_SKIPPED`, if that is set. See [`skip!`].
///
/// # Panics
/// If the file cannot be written: a test must not be skipped without being seen.
pub fn note(name: &str, reason: &str) {
    let thread = std::thread::current();
    let line = format!("{name}: {}: {}\n", thread.name().unwrap_or("?"), reason.replace('\n', " "));
    print!("skipped: {line}");
    let Some(path) = std::env::var_os("LABCTL_SKIPPED") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("LABCTL_SKIPPED can be written");
}
