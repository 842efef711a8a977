//! Whether a process is stopped, from the third field of `/proc/PID/stat` (proc(5)), because systemd does not report
//! it.

use std::time::Duration;

use crate::target::{FaultError, ProbeTarget};

/// Whether the process is stopped by a signal.
pub(super) async fn is_stopped(target: &dyn ProbeTarget, node: &str, pid: i32, limit: Duration) -> Result<bool, FaultError> {
    let argv = ["cat".to_owned(), format!("/proc/{pid}/stat")];
    let answer = target.exec(node, &argv, limit).await?;
    if answer.code != 0 {
        return Err(FaultError::new(format!("{node}: process {pid} is gone")));
    }
    state(&answer.stdout)
        .map(|state| state == b'T')
        .ok_or_else(|| FaultError::new(format!("{node}: /proc/{pid}/stat has an unexpected format")))
}

/// The state's letter. The name before it is in parentheses and may contain anything, including parentheses.
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::state;

    #[test]
    fn the_letter_is_behind_the_last_parenthesis() {
        assert_eq!(state(b"12 (consul) T 1 12"), Some(b'T'));
        assert_eq!(state(b"12 (a) R (b) S 1 12"), Some(b'S'));
        assert_eq!(state(b"12 (consul)"), None);
        assert_eq!(state(b""), None);
    }
}
