//! A lab as a source: reports from its supervisor while one is running, the contents of its folder otherwise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use labctl_core::{chaos, lifecycle};
use labctl_lab::Failure;
use labctl_lab::client::{Connection, Supervisor};
use labctl_lab::control::Answer;
use labctl_lab::home::{Home, LabHome};
use labctl_spec::lab::Lab;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Feed, ReportLine, Source, Update};

/// How often the dashboard polls for things that are not announced: a supervisor that was started, a report that was
/// written. Each check is a system call or two.
const LOOK: Duration = Duration::from_secs(1);

/// A lab on this host.
pub struct LabSource {
    home: LabHome,
    feed: Feed,
}

/// Follows the lab until dropped.
pub struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LabSource {
    /// Starts following the lab. Must be called in a tokio runtime.
    pub async fn follow(home: Home, lab: Lab) -> Result<(Arc<Self>, Following), Failure> {
        let source = Arc::new(Self { home: home.lab(&lab.name), feed: Feed::default() });
        source.feed.publish(Update::Status(lifecycle::status(&home, &lab).await?));
        let task = tokio::spawn(source.clone().run(home, lab));
        Ok((source, Following(task.abort_handle())))
    }

    async fn run(self: Arc<Self>, home: Home, lab: Lab) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut seen = None;
        let mut connection: Option<Connection> = None;
        loop {
            tokio::select! {
                told = told(&mut connection) => match told {
                    Some(update) => self.feed.publish(update),
                    // The supervisor exited, or belongs to another labctl; the next poll finds out.
                    None => connection = None,
                },
                _ = look.tick() => {
                    self.look_for_reports(&mut seen);
                    if connection.is_some() {
                        continue;
                    }
                    if let Some(supervisor) = Supervisor::running(&self.home).await {
                        connection = supervisor.watch().await.ok();
                    } else if let Ok(status) = lifecycle::status(&home, &lab).await {
                        self.feed.publish(Update::Status(status));
                    }
                }
            }
        }
    }

    fn look_for_reports(&self, seen: &mut Option<SystemTime>) {
        let folder: PathBuf = chaos::reports_folder(&self.home);
        // A report is renamed into its folder, which changes the folder's time.
        let changed = folder.metadata().and_then(|about| about.modified()).ok();
        if changed != *seen {
            *seen = changed;
            let lines = chaos::reports(&self.home).into_iter().map(|(name, report)| ReportLine::of(name, &report));
            self.feed.publish(Update::Reports(lines.collect()));
        }
    }
}

/// The next update from the supervisor; `None` when it exits. Never returns without a connection.
async fn told(connection: &mut Option<Connection>) -> Option<Update> {
    let Some(connection) = connection else { return std::future::pending().await };
    match connection.answer().await.ok()? {
        Answer::Status(status) => Some(Update::Status(status)),
        Answer::Watched(stamped) => Some(Update::Happened(stamped)),
        _ => None,
    }
}

impl Source for LabSource {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn report(&self, name: &str) -> Option<String> {
        // Chosen from the existing ones: a name from the network is never used as a path.
        let (_, report) = chaos::reports(&self.home).into_iter().find(|(known, _)| known == name)?;
        Some(chaos::render(&report, false))
    }
}
