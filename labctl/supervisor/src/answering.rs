//! Waiting until a guest answers before anything is asked of it, and reporting what is known of one that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use labctl_guest::{Agent, GuestError, Link, LinkState};
use labctl_lab::event::NodeState;
use labctl_lab::{Failure, Kind, snapshot};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::node::{Running, Slot, Upset};
use crate::patience::{Limits, Signs, Silence, patiently};
use crate::{Supervisor, console, lock};

/// How long a driver may take to report whether the machine is paused.
const STATE_DEADLINE: Duration = Duration::from_secs(1);

/// Why a guest did not answer.
#[derive(Debug, Clone)]
pub enum NoWord {
    /// Its machine has exited.
    Ended,
    /// Its kernel has panicked, with this message.
    Panicked(String),
    /// It stands still, because the host's disk is full; what is known about it.
    Stopped(String),
    /// It has started to boot although it was to resume.
    Rebooted,
    /// It does not respond.
    Silent(Silence),
    /// The channel to its agent failed.
    Channel(GuestError),
}

/// What is expected of a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It comes up.
    Up,
    /// It resumes where its memory was saved: a reboot ends the wait.
    GoOn,
    /// A command that a user waits for. Nothing was asked of the guest yet, so it may reboot after a panic, once.
    Command,
}

impl Slot {
    /// The channel to the agent, once it answers.
    pub async fn link(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<Link, Failure> {
        if matches!(self.state(), NodeState::Unreachable { .. }) {
            // It may just be taken over, or answer by now.
            let _turn = self.turn().await;
            self.adopt_late(supervisor).await;
        }
        let running = self.running().ok_or_else(|| self.not_running(supervisor))?;
        if let Err(why) = self.word(&running, Wish::Command).await {
            return Err(self.no_word(supervisor, &running, why));
        }
        // A fork that has not been told its identity yet would act as its template, and a moved clone as the original lab. If telling it
        // fails, it can still be inspected.
        let _ = self.settle(supervisor, &running).await;
        Ok(running.link)
    }

    /// Waits until the guest answers and knows its identity.
    pub async fn answered(&self, supervisor: &Supervisor) -> Result<(), Failure> {
        let Some(running) = self.running() else { return Err(self.ended_early(supervisor)) };
        match self.word(&running, Wish::Up).await {
            Ok(()) => self.settle(supervisor, &running).await,
            Err(why) => Err(self.no_word(supervisor, &running, why)),
        }
    }

    /// Waits until the guest answers a question asked now. Anything heard earlier may come from a guest that has died since.
    pub async fn word(&self, running: &Running, wish: Wish) -> Result<(), NoWord> {
        let mut upsets = running.upset.subscribe();
        let mut panics = 0;
        let state = self.state();
        if let NodeState::DiskFull { why } = state {
            return Err(NoWord::Stopped(why));
        }
        if let NodeState::Panicked { why } = &state {
            let long_ago = lock(&running.life).since_panic(SystemTime::now()).is_some_and(|since| since > Limits::RESET.quiet);
            let wait = resets(upsets.clone(), running.machine.ended(), || running.signs());
            if wish != Wish::Command || long_ago || !wait.await {
                return Err(NoWord::Panicked(why.clone()));
            }
            panics += 1;
        }
        if wish == Wish::GoOn {
            // Anything that has happened to it since it resumed counts.
            upsets.mark_changed();
        }
        let given_up = matches!(state, NodeState::Silent { .. });
        let resetting = AtomicBool::new(false);
        let limits = || match (wish, lock(&running.life).awake && !resetting.load(Ordering::Relaxed)) {
            (Wish::Command, _) if given_up => Limits::GIVEN_UP,
            (_, false) => Limits::BOOT,
            (Wish::Command, true) => Limits::ASKED,
            (Wish::Up | Wish::GoOn, true) => Limits::AWAKE,
        };
        let upset = async {
            loop {
                // Cannot fail: the sender is borrowed.
                let _ = upsets.changed().await;
                let upset = upsets.borrow_and_update().clone();
                match upset {
                    Some(Upset::Panicked(line)) => {
                        panics += 1;
                        resetting.store(true, Ordering::Relaxed);
                        let wait = resets(upsets.clone(), running.machine.ended(), || running.signs());
                        if wish != Wish::Command || panics > 1 || !wait.await {
                            return NoWord::Panicked(line);
                        }
                        resetting.store(false, Ordering::Relaxed);
                    }
                    Some(Upset::Halted(line)) => return NoWord::Panicked(line),
                    Some(Upset::Stopped(why)) => return NoWord::Stopped(why),
                    Some(Upset::Reset) if wish == Wish::GoOn => return NoWord::Rebooted,
                    _ => {}
                }
            }
        };
        let signs = || {
            let running = running.clone();
            async move { running.signs().await }
        };
        let heard = tokio::select! {
            biased;
            why = upset => return Err(why),
            heard = patiently(running.answer(), limits, signs) => heard,
            () = running.machine.ended() => return Err(NoWord::Ended),
        };
        match heard {
            Ok(Ok(())) => {
                lock(&running.life).awake = true;
                Ok(())
            }
            Ok(Err(GuestError::Disconnected)) => Err(NoWord::Ended),
            Ok(Err(why)) => Err(NoWord::Channel(why)),
            Err(silence) => Err(NoWord::Silent(silence)),
        }
    }

    /// The failure to report for a guest that does not answer.
    pub fn no_word(&self, supervisor: &Supervisor, running: &Running, why: NoWord) -> Failure {
        let name = &self.name;
        let message = match why {
            NoWord::Ended => return self.ended_early(supervisor),
            NoWord::Stopped(why) => return self.full(&why),
            NoWord::Channel(why) => {
                let failure = Failure::from(why);
                return Failure { message: format!("{name}: {}", failure.message), ..failure };
            }
            NoWord::Panicked(line) => format!("{name}: its kernel has panicked: {line}"),
            NoWord::Rebooted => format!("{name}: it rebooted instead of resuming where it was saved"),
            NoWord::Silent(silence) => {
                let known = running.known_of(silence);
                if matches!(self.state(), NodeState::Booting | NodeState::Running | NodeState::Silent { .. }) {
                    self.change(supervisor, NodeState::Silent { why: known.clone() });
                }
                format!("{name}: {known}")
            }
        };
        Failure::new(Kind::Machine, message)
            .hint(format!("`labctl logs {name} --console` shows what it printed; `labctl reload --force {name}` reboots it"))
    }

    /// The failure for a node that is needed but does not run.
    pub fn not_running(&self, supervisor: &Supervisor) -> Failure {
        if let NodeState::Unreachable { why } = self.shown_state(&supervisor.home) {
            return Failure::new(Kind::Machine, format!("{} cannot be reached: {why}", self.name))
                .hint(format!("`labctl up {0}` ends its machine and boots it from its disk; `labctl halt {0}` only ends it", self.name));
        }
        let failure = Failure::new(Kind::Conflict, format!("{} is not running", self.name));
        match snapshot::failed_restore(&supervisor.home) {
            Some(why) => {
                Failure { message: format!("{}; the last restore failed: {}", failure.message, why.message), hint: why.hint, ..failure }
            }
            None => failure.hint(format!("labctl up {}", self.name)),
        }
    }

    fn ended_early(&self, supervisor: &Supervisor) -> Failure {
        let console = supervisor.home.node(&self.name).join("console.log");
        let text = std::fs::read(&console).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        let seen =
            if last.is_empty() { "it printed nothing".to_owned() } else { format!("its last console output:\n  {}", last.join("\n  ")) };
        Failure::new(Kind::Machine, format!("{}: the machine exited before its agent answered; {seen}", self.name))
            .hint(format!("see {} and repeat the command", console.display()))
    }
}

/// Waits for the reset that follows a panic; false if none comes. Kernels that labctl boots reset at once; others wait a few seconds, or
/// for ever, and most say that before they do.
async fn resets<S: Future<Output = Signs>>(
    mut upsets: watch::Receiver<Option<Upset>>,
    ended: impl Future<Output = ()>,
    signs: impl Fn() -> S,
) -> bool {
    let decided = async {
        let decided = upsets.wait_for(|upset| matches!(upset, Some(Upset::Reset | Upset::Halted(_)))).await;
        decided.is_ok_and(|upset| matches!(*upset, Some(Upset::Reset)))
    };
    tokio::select! {
        came = patiently(decided, || Limits::RESET, signs) => came.unwrap_or(false),
        () = ended => false,
    }
}

impl Running {
    /// Asks the agent a question now and waits for the answer.
    async fn answer(&self) -> Result<(), GuestError> {
        let agent = Agent::new(self.link.clone());
        loop {
            self.link.up().await?;
            match agent.ping().await {
                // It has restarted meanwhile, and will report that.
                Err(GuestError::Restarted) => {}
                Err(GuestError::Disconnected) if *self.link.state().borrow() != LinkState::Down => {}
                answered => return answered,
            }
        }
    }

    async fn signs(&self) -> Signs {
        // One that does not answer does not count as paused: its driver may itself hang.
        let active = timeout(STATE_DEADLINE, self.machine.is_active()).await;
        Signs {
            shares: self.machine.shares().unwrap_or_default(),
            paused: matches!(active, Ok(Ok(false))),
            printed: console::length(&self.console_log),
        }
    }

    /// Everything known about a silent guest.
    pub fn known_of(&self, silence: Silence) -> String {
        match &lock(&self.life).last_oops {
            Some(line) => format!("{silence}; its kernel reported: {line}"),
            None => silence.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_kernel_that_stays_panicked_is_not_waited_for() {
        let signs = || ready(Signs::default());
        let upset = watch::Sender::new(Some(Upset::Halted("x".into())));
        assert!(!resets(upset.subscribe(), pending(), signs).await, "it was known before");
        upset.send_replace(Some(Upset::Panicked("x".into())));
        let (came, ()) = tokio::join!(resets(upset.subscribe(), pending(), signs), async {
            upset.send_replace(Some(Upset::Halted("x".into())));
        });
        assert!(!came);
        upset.send_replace(Some(Upset::Panicked("x".into())));
        let (came, ()) = tokio::join!(resets(upset.subscribe(), pending(), signs), async {
            upset.send_replace(Some(Upset::Reset));
        });
        assert!(came);
        upset.send_replace(Some(Upset::Panicked("x".into())));
        assert!(!resets(upset.subscribe(), ready(()), signs).await, "the machine is gone");
    }
}
