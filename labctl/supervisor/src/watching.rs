//! Following a machine until it exits: its agent, what its kernel prints, its resets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use labctl_guest::{Agent, LinkState};
use labctl_lab::event::{Event, NodeState, Trouble};
use labctl_lab::life::{self, Complaint};
use labctl_machine::driver::Incident;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::console::Console;
use crate::kernel::Said;
use crate::node::{Running, Slot, Upset};
use crate::{Supervisor, boot, lock, ports};

/// A kernel in trouble may repeat itself endlessly; anything but a panic is reported once in this time.
const AGAIN: Duration = Duration::from_secs(60);

/// Where a guest reports which boot it is in, and its uptime. The boot id is hidden in a fork, whose kernel has its template's.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";

/// When something was printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printed {
    /// While no supervisor was listening. Whoever waits for the guest waits for what it does from now on: most likely it has rebooted.
    Before,
    Now,
}

/// What a machine has shown so far.
struct Watched {
    console: Console,
    incidents: UnboundedReceiver<Incident>,
    /// When each kind of trouble other than a panic was last reported.
    told: [Option<Instant>; 2],
}

impl Slot {
    /// Follows a machine until it exits.
    pub async fn watch(self: Arc<Self>, supervisor: Arc<Supervisor>, running: Running) {
        // Before the console is read: a reset that follows what it says must not be missed.
        let incidents = running.machine.incidents();
        let console = Console::open(&running.console_log, lock(&running.life).console_heard);
        let mut watched = Watched { console, incidents, told: [None; 2] };
        // An adopted machine may have printed something while no supervisor was listening.
        let said = watched.console.hear();
        if said.iter().any(|said| !matches!(said, Said::Complaint(Complaint { trouble: Trouble::Oops | Trouble::Stall, .. }))) {
            lock(&running.life).awake = false;
        }
        self.heard(&supervisor, &running, &mut watched, said, Printed::Before);
        self.follow(&supervisor, &running, &mut watched).await;
        let last = self.state();
        self.gone();
        supervisor.switch.detach(&self.name).await;
        let published = self.take_published();
        ports::unpublish(&supervisor, &self.name, &published).await;
        let orderly = last == NodeState::Halting || boot::powered_off(&running.console_log);
        let before = last.why().map(|why| format!("; before that: {why}")).unwrap_or_default();
        let crash = NodeState::Crashed { why: format!("it exited unexpectedly{before}") };
        self.change(&supervisor, if orderly { NodeState::Off } else { crash });
        supervisor.clients.quieter.notify_one();
    }

    async fn follow(&self, supervisor: &Supervisor, running: &Running, watched: &mut Watched) {
        let machine = &running.machine;
        // One that is adopted may have stopped before.
        if matches!(machine.lacks_room().await, Ok(true)) {
            self.lacks_room(supervisor, running);
        }
        let mut agent = running.link.state();
        loop {
            let answers = matches!(&*agent.borrow_and_update(), LinkState::Up { .. });
            if !answers && self.state() == NodeState::Running {
                self.change(supervisor, NodeState::Booting);
            }
            let settle = async {
                // If it fails, the next `up` retries it and reports why.
                if answers && let Err(why) = self.settle(supervisor, running).await {
                    tracing::warn!("{}: {why}", self.name);
                } else if answers {
                    self.note_boot(supervisor, running).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::pin!(settle);
            loop {
                tokio::select! {
                    () = machine.ended() => return,
                    changed = agent.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return machine.ended().await,
                    },
                    said = watched.console.next() => self.heard(supervisor, running, watched, said, Printed::Now),
                    incident = watched.incidents.recv() => match incident {
                        Some(Incident::Reset) => {
                            // What it printed before the reset is handled first.
                            let said = watched.console.hear();
                            self.heard(supervisor, running, watched, said, Printed::Now);
                            self.was_reset(supervisor, running);
                        }
                        Some(Incident::NoRoom) => self.lacks_room(supervisor, running),
                        Some(Incident::Resumed) => if self.has_room(supervisor) {
                            // Asks the guest whether it answers.
                            break;
                        },
                        None => return machine.ended().await,
                    },
                    () = &mut settle => {}
                }
            }
        }
    }

    /// Handles what the kernel has printed. A panic that happens now is an upset for whoever waits for the guest.
    fn heard(&self, supervisor: &Supervisor, running: &Running, watched: &mut Watched, said: Vec<Said>, when: Printed) {
        if said.is_empty() {
            return;
        }
        for said in said {
            match said {
                Said::Restarting => lock(&running.life).restarts_in_order(),
                // Also if nobody listened when it panicked.
                Said::Halted => {
                    if let Some(panic) = lock(&running.life).status().last_panic {
                        self.panicked(supervisor, running, panic.line.clone(), Upset::Halted(panic.line));
                    }
                }
                Said::Complaint(complaint) => {
                    lock(&running.life).complains(&complaint, SystemTime::now());
                    let Complaint { trouble, line } = complaint;
                    if watched.is_news(trouble) {
                        supervisor.emit(Event::Kernel { node: self.name.clone(), trouble, line: line.clone() });
                    }
                    if trouble == Trouble::Panic && when == Printed::Now {
                        self.panicked(supervisor, running, line.clone(), Upset::Panicked(line));
                    }
                }
            }
        }
        lock(&running.life).console_heard = watched.console.heard();
        self.keep(supervisor, running);
    }

    /// Its kernel has panicked, and has not rebooted yet.
    fn panicked(&self, supervisor: &Supervisor, running: &Running, line: String, upset: Upset) {
        // First: whoever sees the state must not take an older reset for the one that is to come.
        running.upset.send_replace(Some(upset));
        if self.state() != NodeState::Halting {
            self.change(supervisor, NodeState::Panicked { why: line });
        }
    }

    /// Handles a reset: the guest boots again.
    fn was_reset(&self, supervisor: &Supervisor, running: &Running) {
        lock(&running.life).reset(SystemTime::now());
        running.upset.send_replace(Some(Upset::Reset));
        // The new boot knows the time, and reads its identity from the disk.
        running.asleep.store(false, Ordering::SeqCst);
        if self.state() != NodeState::Halting {
            self.change(supervisor, NodeState::Booting);
        }
        self.keep(supervisor, running);
    }

    /// Asks the guest which boot it is in, and reports if it is a different one than before.
    async fn note_boot(&self, supervisor: &Supervisor, running: &Running) {
        let agent = Agent::new(running.link.clone());
        let (mut boot_id, mut uptime) = (Vec::new(), Vec::new());
        let asked = async {
            agent.get(BOOT_ID, &mut boot_id).await?;
            agent.get(UPTIME, &mut uptime).await
        };
        if let Err(why) = asked.await {
            tracing::warn!("{}: {BOOT_ID}: {why}", self.name);
            return;
        }
        let boot_id = String::from_utf8_lossy(&boot_id).trim().to_owned();
        let uptime = life::uptime(&uptime).unwrap_or_default();
        let reboot = lock(&running.life).answers(&boot_id, uptime, SystemTime::now());
        self.keep(supervisor, running);
        if let Some(life::Reboot { cause, ran }) = reboot {
            let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
            supervisor.emit(Event::Rebooted { node: self.name.clone(), cause, ran_ms, boot_id });
        }
    }

    /// Saved for this supervisor's successor.
    pub fn keep(&self, supervisor: &Supervisor, running: &Running) {
        let life = lock(&running.life).clone();
        if let Err(why) = life.keep(&supervisor.home.node(&self.name)) {
            tracing::warn!("{}: {why}", self.name);
        }
    }
}

impl Watched {
    fn is_news(&mut self, trouble: Trouble) -> bool {
        let told = match trouble {
            Trouble::Panic => return true,
            Trouble::Oops => &mut self.told[0],
            Trouble::Stall => &mut self.told[1],
        };
        let now = Instant::now();
        let news = told.is_none_or(|told| now - told >= AGAIN);
        if news {
            *told = Some(now);
        }
        news
    }
}
