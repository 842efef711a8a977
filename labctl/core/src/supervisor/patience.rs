//! Waiting for a guest's first word. How long that may take is not known beforehand: an emulated vendor's image, which goes
//! through its boot loader and cloud-init, was seen to take seven minutes on a busy host, a stock guest takes seconds. A guest
//! that prints on its console lives, and is waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use labctl_guest::{GuestError, Link};

/// How long a guest may be silent, on its console and to us. Five guests boot in under a minute on two emulated cores.
const SILENCE: Duration = Duration::from_secs(300);
/// How long it may take altogether: a guest that prints without end is not waited for for ever.
const SLOWEST: Duration = Duration::from_secs(1800);

/// Waits until the agent answers.
///
/// # Errors
/// The channel's end, or a guest that is silent for too long.
pub async fn first_word(link: &Link, console_log: &Path) -> Result<(), GuestError> {
    patiently(link, console_log, SILENCE, SLOWEST).await
}

async fn patiently(link: &Link, console_log: &Path, silence: Duration, slowest: Duration) -> Result<(), GuestError> {
    let started = Instant::now();
    loop {
        let printed = length(console_log);
        match link.up_within(silence).await {
            Err(GuestError::Silent(_)) if length(console_log) > printed && started.elapsed() < slowest => {}
            Err(GuestError::Silent(_)) => return Err(GuestError::Silent(Duration::from_secs(started.elapsed().as_secs()))),
            answered => return answered.map(drop),
        }
    }
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |about| about.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_guest_that_prints_is_waited_for_and_a_silent_one_is_not() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let link = Link::over(ours);
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let (short, long) = (Duration::from_millis(20), Duration::from_millis(200));
        let silent = patiently(&link, log.path(), short, long).await.unwrap_err();
        assert!(matches!(silent, GuestError::Silent(after) if after < long), "{silent}");

        let path = log.path().to_owned();
        let started = Instant::now();
        let waiting = patiently(&link, &path, short, long);
        let printing = async {
            loop {
                log.write_all(b"still here\n").unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::select! { waited = waiting => waited, () = printing => unreachable!() };
        assert!(matches!(waited, Err(GuestError::Silent(_))));
        assert!(started.elapsed() >= long, "it printed all the time");
    }
}
