//! Waiting for a QEMU that owes an answer. How long one takes is not known in advance: its main thread may want a processor that others have,
//! or close a disk. So it is given up only if it did nothing for a while, as one that somebody has stopped (SIGSTOP).
//!
//! Time is counted in looks, so a pause of this process itself, or of the whole host, does not count.

use std::fmt;
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::vitals::{Share, shares};

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// While the process is stopped, by a signal or a debugger.
    pub stopped: Duration,
    /// While it neither runs nor wants to.
    pub still: Duration,
    /// While the system does not tell what it does.
    pub unseen: Duration,
    /// Whatever it does.
    pub slowest: Duration,
}

impl Limits {
    /// For a command of a connection that works.
    pub const COMMAND: Self = Self {
        stopped: Duration::from_secs(3),
        still: Duration::from_secs(20),
        unseen: Duration::from_secs(120),
        slowest: Duration::from_secs(600),
    };

    /// For the greeting. A QEMU that talks to somebody else runs, and does not greet.
    pub const GREETING: Self = Self { unseen: Duration::from_secs(20), slowest: Duration::from_secs(60), ..Self::COMMAND };

    /// For memory on its way, which may be much.
    pub const TRANSFER: Self = Self { unseen: Duration::from_secs(3600), slowest: Duration::MAX, ..Self::COMMAND };
}

/// What is seen of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Nothing.
    Unseen,
    /// It is stopped.
    Stopped,
    /// It runs, or waits for a processor.
    Runs,
    /// It sleeps; what its threads have got of the processors so far.
    Sleeps(Vec<Share>),
}

/// Why the wait was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hang {
    /// It is stopped.
    Stopped,
    /// It did nothing for this long.
    Still(Duration),
    /// It does something, but there was no answer for this long.
    Slow(Duration),
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the process is stopped, as by SIGSTOP"),
            Self::Still(time) => write!(f, "the process did nothing for {} s", time.as_secs()),
            Self::Slow(time) => write!(f, "there was no answer for {} s", time.as_secs()),
        }
    }
}

/// A wait in progress.
struct Wait {
    limits: Limits,
    last: Sign,
    /// Looks without a sign of life, and all of them.
    still: u32,
    all: u32,
}

impl Wait {
    /// Takes what is seen now; returns why to give up, once there is reason to.
    fn look(&mut self, sign: Sign) -> Option<Hang> {
        self.all += 1;
        let lives = match &sign {
            Sign::Runs => true,
            Sign::Sleeps(_) => sign != self.last,
            Sign::Stopped | Sign::Unseen => false,
        };
        // What was waited in another state does not count in this one.
        let same = std::mem::discriminant(&sign) == std::mem::discriminant(&self.last);
        self.still = if lives {
            0
        } else if same {
            self.still + 1
        } else {
            1
        };
        self.last = sign;
        let (still, all) = (LOOK * self.still, LOOK * self.all);
        match self.last {
            Sign::Stopped if still >= self.limits.stopped => Some(Hang::Stopped),
            Sign::Sleeps(_) if still >= self.limits.still => Some(Hang::Still(still)),
            Sign::Unseen if still >= self.limits.unseen => Some(Hang::Slow(still)),
            _ if all >= self.limits.slowest => Some(Hang::Slow(all)),
            _ => None,
        }
    }
}

/// Waits for an answer as long as the process lives up to these limits.
///
/// # Errors
/// What was seen of a process that did not answer.
pub async fn while_alive<T>(answer: impl Future<Output = T>, limits: Limits, sign: impl Fn() -> Sign) -> Result<T, Hang> {
    let watch = async {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.tick().await;
        let mut wait = Wait { limits, last: sign(), still: 0, all: 1 };
        loop {
            look.tick().await;
            if let Some(hang) = wait.look(sign()) {
                return hang;
            }
        }
    };
    tokio::select! {
        biased;
        answer = answer => Ok(answer),
        hang = watch => Err(hang),
    }
}

/// What is seen of these threads of a process now. The state is the first one's.
pub fn sign(pid: i32, threads: &[i32]) -> Sign {
    let stat = threads.first().and_then(|thread| fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok());
    match stat.as_deref().and_then(state) {
        Some('T' | 't') => Sign::Stopped,
        Some('R') => Sign::Runs,
        // A kernel that does not count says that nothing ever ran.
        _ => shares(pid, threads).filter(|shares| shares.iter().any(|share| !share.ran.is_zero())).map_or(Sign::Unseen, Sign::Sleeps),
    }
}

/// All threads of a process.
pub fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The main thread's id is the process id.
    threads.sort_by_key(|thread| (*thread != pid, *thread));
    threads
}

/// The state in a stat file (proc_pid_stat(5)). The program's name, in parentheses, may itself contain blanks and parentheses.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(wait: &mut Wait, sign: impl Fn(u32) -> Sign) -> (u32, Hang) {
        (1..).find_map(|at| Some((at, wait.look(sign(at))?))).unwrap()
    }

    fn wait() -> Wait {
        Wait { limits: Limits::COMMAND, last: Sign::Unseen, still: 0, all: 0 }
    }

    fn asleep(ran: u64) -> Sign {
        Sign::Sleeps(vec![Share { ran: Duration::from_nanos(ran), waited: Duration::ZERO }])
    }

    #[test]
    fn what_does_nothing_is_given_up_and_what_does_something_is_waited_for() {
        assert_eq!(looks(&mut wait(), |_| Sign::Stopped), (12, Hang::Stopped));
        let (at, hang) = looks(&mut wait(), |_| asleep(7));
        assert_eq!((at, hang.to_string().as_str()), (81, "the process did nothing for 20 s"));
        assert_eq!(looks(&mut wait(), |_| Sign::Unseen).0, 480);
        let (at, hang) = looks(&mut wait(), |_| Sign::Runs);
        assert_eq!((at, hang.to_string().as_str()), (2400, "there was no answer for 600 s"));
        assert_eq!(looks(&mut wait(), |at| asleep(u64::from(at / 70))).0, 2400, "it runs now and then");
    }

    #[test]
    fn a_stop_that_ends_is_forgiven() {
        let mut wait = wait();
        for _ in 0..20 {
            for _ in 0..11 {
                assert_eq!(wait.look(Sign::Stopped), None);
            }
            assert_eq!(wait.look(asleep(7)), None);
        }
    }

    #[tokio::test]
    async fn an_answer_ends_the_wait_and_a_stopped_process_does() {
        let brief = Limits { stopped: 2 * LOOK, ..Limits::COMMAND };
        assert_eq!(while_alive(async { 7 }, brief, || Sign::Stopped).await, Ok(7));
        assert_eq!(while_alive(std::future::pending::<()>(), brief, || Sign::Stopped).await, Err(Hang::Stopped));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processes_are_seen_as_they_are() {
        use std::process::{Command, Stdio};
        assert_eq!(state("42 (qemu (x) 86) S 1 4242"), Some('S'));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        let seen = |wanted: fn(&Sign) -> bool| {
            while !wanted(&sign(pid, &threads(pid))) {
                std::thread::yield_now();
            }
        };
        seen(|sign| matches!(sign, Sign::Sleeps(_)));
        let kill = |signal| rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
        kill(rustix::process::Signal::STOP);
        seen(|sign| *sign == Sign::Stopped);
        kill(rustix::process::Signal::CONT);
        seen(|sign| matches!(sign, Sign::Sleeps(_)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(sign(pid, &[pid]), Sign::Unseen);
    }
}
