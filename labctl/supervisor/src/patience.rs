//! Waiting for a guest to answer. How long that may take is not known in advance: an emulated vendor image, which runs its boot loader and
//! cloud-init, was seen to take seven minutes on a busy host; a restored guest answers within a second, or in ten times that if the host is
//! busy. So only the guest's own time counts:
//!
//! ```text
//! time on the clock = time that its processors ran or idled + time that they wanted to run and something else ran + time paused
//!                     └──────────── this counts ──────────┘
//! ```
//!
//! Neither running nor idling is progress in itself: a dead kernel may idle forever, or take page faults forever. A guest that is awake
//! answers once it was given enough of that time, or never. A booting guest may also show progress on its console.

use std::fmt;
use std::time::Duration;

use labctl_machine::vitals::Share;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often a guest is checked while waiting: no event reports processor time.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How much of its own time may pass without progress.
    pub quiet: Duration,
    /// The limit on the clock: a guest that prints endlessly, or gets nothing of the host's processors, must not be waited for forever.
    slowest: Duration,
    /// Whether console output counts as progress.
    console: bool,
}

impl Limits {
    /// For a guest that boots. Five boot in under a minute on two emulated cores.
    pub const BOOT: Self = Self { quiet: Duration::from_secs(300), slowest: Duration::from_secs(1800), console: true };

    /// For a guest that resumes from saved memory, or that has answered since its boot: its agent runs before everything else in the guest.
    /// What a dead kernel prints is no progress.
    pub const AWAKE: Self = Self { quiet: Duration::from_secs(20), slowest: Duration::from_secs(600), console: false };

    /// For a guest that a command waits for.
    pub const ASKED: Self = Self { quiet: Duration::from_secs(10), ..Self::AWAKE };

    /// For a guest whose kernel has panicked, until it resets.
    pub const RESET: Self = Self { quiet: Duration::from_secs(8), slowest: Duration::from_secs(60), console: true };

    /// For a guest that an earlier wait gave up on.
    pub const GIVEN_UP: Self = Self { quiet: Duration::from_secs(2), slowest: Duration::from_secs(60), ..Self::AWAKE };
}

/// What can be observed of a guest from outside.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// What its virtual CPUs have got of the host's processors so far; empty if unknown.
    pub shares: Vec<Share>,
    /// It was paused, as for a snapshot.
    pub paused: bool,
    /// Bytes that its console has printed so far.
    pub printed: u64,
}

/// Why the wait for a guest was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// How long the wait was, on the clock.
    pub waited: Duration,
    /// How long the busiest of its processors ran meanwhile; none if unknown.
    pub ran: Option<Duration>,
    /// How much of that time was its own.
    pub own: Duration,
    /// The clock's limit was reached: there was progress, or the guest got too little time to make any.
    pub slow: bool,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its agent has not answered for {} s; ", self.waited.as_secs())?;
        match self.ran {
            _ if self.slow && self.own < self.waited / 2 => {
                write!(f, "the host was busy with other work and gave it only {} s of that", self.own.as_secs())
            }
            _ if self.slow => f.write_str("its console keeps printing, but it makes no progress"),
            None => f.write_str("nothing else is known about it"),
            Some(ran) if ran > self.own / 2 => {
                write!(f, "it used {} s of processor time in the meantime: something in it is stuck in a loop", ran.as_secs())
            }
            Some(ran) => write!(f, "its processors are idle: they used {} s in the meantime", ran.as_secs()),
        }
    }
}

/// A wait for one guest.
struct Patience {
    limits: Limits,
    began: Instant,
    first: Signs,
    last: (Instant, Signs),
    /// The guest's own time since the start.
    own: Duration,
    /// The same, at the last progress.
    progress: Duration,
}

impl Patience {
    fn new(now: Instant, limits: Limits, signs: Signs) -> Self {
        Self { limits, began: now, first: signs.clone(), last: (now, signs), own: Duration::ZERO, progress: Duration::ZERO }
    }

    /// Takes the current observation; returns the silence once patience has run out. If the limits change because the guest started to
    /// boot, they start over.
    fn look(&mut self, now: Instant, limits: Limits, signs: Signs) -> Option<Silence> {
        let (before, seen) = &self.last;
        let passed = now - *before;
        let own = if signs.paused { Duration::ZERO } else { passed.saturating_sub(waited(&seen.shares, &signs.shares)) };
        let printed = signs.printed > seen.printed;
        self.own += own;
        if limits != self.limits || (limits.console && printed) {
            self.limits = limits;
            self.progress = self.own;
        }
        self.last = (now, signs);
        let clock = now - self.began;
        let quiet = self.own - self.progress >= limits.quiet;
        (quiet || clock >= limits.slowest).then(|| Silence {
            waited: clock,
            ran: ran(&self.first.shares, &self.last.1.shares),
            own: self.own,
            slow: !quiet,
        })
    }
}

/// How long the guest had to wait for the host's processors between two looks: the longest wait of any of its CPUs. An idle CPU makes no
/// progress either if it waits for another.
fn waited(before: &[Share], now: &[Share]) -> Duration {
    before.iter().zip(now).map(|(before, now)| now.waited.saturating_sub(before.waited)).max().unwrap_or_default()
}

fn ran(before: &[Share], now: &[Share]) -> Option<Duration> {
    before.iter().zip(now).map(|(before, now)| now.ran.saturating_sub(before.ran)).max()
}

/// Waits for the answer until patience runs out. `limits` may change meanwhile.
///
/// # Errors
/// What was observed of a guest that did not answer.
pub async fn patiently<T, S: Future<Output = Signs>>(
    answer: impl Future<Output = T>,
    limits: impl Fn() -> Limits,
    signs: impl Fn() -> S,
) -> Result<T, Silence> {
    tokio::pin!(answer);
    // Most guests that are awake answer before the first look.
    let soon = tokio::time::timeout(LOOK, &mut answer).await;
    if let Ok(answer) = soon {
        return Ok(answer);
    }
    let watch = async {
        let mut patience = Patience::new(Instant::now() - LOOK, limits(), signs().await);
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let signs = signs().await;
            if let Some(silence) = patience.look(Instant::now(), limits(), signs) {
                return silence;
            }
        }
    };
    tokio::select! {
        biased;
        answer = &mut answer => Ok(answer),
        silence = watch => Err(silence),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A guest that is observed once a second; `each` returns the changes per second: run time, wait time, printed bytes, paused.
    fn wait(limits: Limits, each: impl Fn(u64) -> (f64, f64, u64, bool)) -> Silence {
        let began = Instant::now();
        let mut signs = Signs { shares: vec![Share::default(); 2], ..Signs::default() };
        let mut patience = Patience::new(began, limits, signs.clone());
        for second in 1..100_000 {
            let (ran, waited, printed, paused) = each(second);
            signs.shares[0].ran += Duration::from_secs_f64(ran);
            signs.shares[0].waited += Duration::from_secs_f64(waited);
            signs.printed += printed;
            signs.paused = paused;
            if let Some(silence) = patience.look(began + s(second), limits, signs.clone()) {
                return silence;
            }
        }
        panic!("patience without end");
    }

    #[test]
    fn a_kernel_that_loops_and_one_that_idles_are_dead_alike() {
        let loops = wait(Limits::AWAKE, |_| (1.0, 0.0, 0, false));
        assert_eq!((loops.waited, loops.ran), (s(20), Some(s(20))));
        assert_eq!(
            loops.to_string(),
            "its agent has not answered for 20 s; it used 20 s of processor time in the meantime: something in it is stuck in a loop"
        );
        let idles = wait(Limits::AWAKE, |_| (0.01, 0.0, 0, false));
        assert_eq!(idles.waited, s(20));
        assert_eq!(idles.to_string(), "its agent has not answered for 20 s; its processors are idle: they used 0 s in the meantime");
        // Output of a dead kernel does not extend the wait.
        assert_eq!(wait(Limits::AWAKE, |_| (1.0, 0.0, 80, false)).waited, s(20));
    }

    #[test]
    fn a_guest_that_gets_a_tenth_of_a_processor_is_given_ten_times_as_long() {
        let slow = wait(Limits::AWAKE, |_| (0.1, 0.9, 0, false));
        assert_eq!(slow.waited, s(200));
        assert_eq!(
            slow.to_string(),
            "its agent has not answered for 200 s; it used 20 s of processor time in the meantime: something in it is stuck in a loop"
        );
        // With no processor time at all, the limit on the clock applies.
        let starved = wait(Limits::AWAKE, |_| (0.0, 1.0, 0, false));
        assert_eq!((starved.waited, starved.own), (s(600), s(0)));
        assert_eq!(
            starved.to_string(),
            "its agent has not answered for 600 s; the host was busy with other work and gave it only 0 s of that"
        );
    }

    #[test]
    fn time_in_which_it_was_paused_is_not_its_own() {
        assert_eq!(wait(Limits::AWAKE, |second| (0.5, 0.0, 0, second <= 30)).waited, s(50));
    }

    #[test]
    fn a_guest_that_boots_is_waited_for_while_it_prints() {
        assert_eq!(wait(Limits::BOOT, |_| (1.0, 0.0, 0, false)).waited, s(300));
        assert_eq!(wait(Limits::BOOT, |second| (1.0, 0.0, u64::from(second == 200), false)).waited, s(500));
        let endless = wait(Limits::BOOT, |_| (1.0, 0.0, 10, false));
        assert_eq!(endless.waited, s(1800));
        assert!(endless.to_string().contains("keeps printing, but it makes no progress"), "{endless}");
    }

    #[test]
    fn a_reboot_begins_another_wait() {
        let began = Instant::now();
        let mut patience = Patience::new(began, Limits::AWAKE, Signs::default());
        assert_eq!(patience.look(began + s(19), Limits::AWAKE, Signs::default()), None);
        assert_eq!(patience.look(began + s(21), Limits::BOOT, Signs::default()), None);
        assert_eq!(patience.look(began + s(320), Limits::BOOT, Signs::default()), None);
        let silence = patience.look(began + s(321), Limits::BOOT, Signs::default()).unwrap();
        assert_eq!(silence.to_string(), "its agent has not answered for 321 s; nothing else is known about it");
    }

    #[tokio::test]
    async fn an_answer_ends_the_wait_and_silence_does() {
        let looks = Mutex::new(0);
        let signs = || {
            *looks.lock().unwrap() += 1;
            std::future::ready(Signs::default())
        };
        let limits = || Limits { quiet: 3 * LOOK, ..Limits::AWAKE };
        assert_eq!(patiently(std::future::ready(7), limits, signs).await, Ok(7));
        assert_eq!(*looks.lock().unwrap(), 0, "who answers at once is not looked at");
        let late = async {
            tokio::time::sleep(LOOK + LOOK / 2).await;
            8
        };
        assert_eq!(patiently(late, || Limits::AWAKE, signs).await, Ok(8));
        assert!(*looks.lock().unwrap() > 0);
        let silence = patiently(std::future::pending::<()>(), limits, signs).await.unwrap_err();
        assert!(silence.waited >= 3 * LOOK, "{silence:?}");
    }
}
