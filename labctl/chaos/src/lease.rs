//! Leases: faults to be undone, written down before they are injected, so that any process can undo them later.
//!
//! ```text
//! record ──▶ inject ──▶ (time passes) ──▶ undo ──▶ healed
//!    │                        │
//!    └── the process dies anywhere here: the next one reads the journal and undoes what has expired
//! ```
//!
//! Undoing is idempotent: undoing something that never happened or was already undone changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use labctl_spec::scenario::Signal;
use serde::{Deserialize, Serialize};

use crate::target::{FaultError, FaultTarget};

/// Time limit for undoing one lease. If an agent has not answered by then, its lease stays open.
const UNDO_LIMIT: Duration = Duration::from_secs(20);

/// The intent to inject a fault, and how to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique within the lab: the wall clock in nanoseconds and a counter. Usable as a file name.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
    /// Description of the fault, for display.
    pub what: String,
    /// How to undo it.
    pub undo: Undo,
    /// When it must be undone even without a request, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// How to undo a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The switch releases the frames it holds.
    ReleaseNetwork,
    /// SIGCONT to the main processes of units.
    Continue {
        /// Nodes and their units.
        targets: Vec<UnitsOn>,
    },
}

/// Units of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsOn {
    /// Node.
    pub node: String,
    /// systemd units.
    pub units: Vec<String>,
}

/// Where leases are stored. Implemented by the owner of the lab's state directory.
pub trait Journal: Send + Sync {
    /// Records the lease. It is durable when this returns, and only then is the fault injected.
    ///
    /// # Errors
    /// The lease could not be recorded; the fault is then not injected.
    fn record(&self, lease: &Lease) -> Result<(), FaultError>;

    /// Marks the lease's fault as undone. Unknown and repeated ids are accepted.
    ///
    /// # Errors
    /// This could not be recorded; a later [`heal`] then undoes the lease once more.
    fn healed(&self, id: &str) -> Result<(), FaultError>;

    /// All leases that are recorded and not healed.
    ///
    /// # Errors
    /// The journal could not be read.
    fn open(&self) -> Result<Vec<Lease>, FaultError>;
}

/// The result of [`heal`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healing {
    /// The faults that were undone.
    pub healed: Vec<String>,
    /// The faults that could not be undone, and why. Their leases stay open.
    pub failed: Vec<String>,
}

/// Undoes the leases in the journal, and releases the switch's hold in any case. Safe to call at any time, repeatedly
/// and concurrently. With `expired_by` (milliseconds since 1970) only leases that have expired by then are undone; a
/// supervisor does that when it starts and at every expiry. A hold of the network is then left to its own limit.
///
/// # Errors
/// The journal could not be read. Faults that could not be undone are not an error of this call: see
/// [`Healing::failed`].
pub async fn heal(journal: &dyn Journal, target: &dyn FaultTarget, expired_by: Option<u64>) -> Result<Healing, FaultError> {
    let mut healing = Healing::default();
    if expired_by.is_none()
        && let Err(error) = target.release_network().await
    {
        healing.failed.push(format!("the switch: {error}"));
    }
    for lease in journal.open()? {
        if expired_by.is_some_and(|now| lease.expires_unix_ms > now) {
            continue;
        }
        let undone = async {
            undo(&lease.undo, target).await?;
            journal.healed(&lease.id)
        };
        match undone.await {
            Ok(()) => healing.healed.push(lease.what),
            Err(error) => healing.failed.push(format!("{}: {error}", lease.what)),
        }
    }
    Ok(healing)
}

/// Undoes one fault, on all nodes in parallel.
///
/// # Errors
/// The error of the first node that failed; the others are undone nevertheless.
pub async fn undo(undo: &Undo, target: &dyn FaultTarget) -> Result<(), FaultError> {
    let work = async {
        match undo {
            Undo::ReleaseNetwork => target.release_network().await.map(drop),
            Undo::Continue { targets } => join_all(targets.iter().map(|on| resume(on, target))).await.into_iter().collect(),
        }
    };
    match tokio::time::timeout(UNDO_LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(FaultError::new(format!("no answer within {UNDO_LIMIT:?}")).hint("see `labctl status`, then `labctl scenario heal`")),
    }
}

async fn resume(on: &UnitsOn, target: &dyn FaultTarget) -> Result<(), FaultError> {
    // This affects the unit's current main process. A unit that was restarted meanwhile is running, and SIGCONT does
    // nothing to it.
    let shot = next_shot();
    target.arm(&on.node, shot, &on.units).await?;
    let signalled = target.fire(&on.node, shot, Signal::Sigcont).await?;
    match signalled.into_iter().find_map(|death| Some((death.unit, death.error?))) {
        Some((unit, error)) => Err(FaultError::new(format!("{}: {unit}: {error}", on.node))),
        None => Ok(()),
    }
}

/// An open lease. [`close`](OpenLease::close) undoes it. If it is dropped before that (the run was cancelled), a task
/// on the current runtime undoes it; without a runtime, the journal keeps it for the next supervisor.
pub(crate) struct OpenLease {
    lease: Option<Lease>,
    journal: Arc<dyn Journal>,
    target: Arc<dyn FaultTarget>,
}

impl OpenLease {
    /// Records the lease. Inject the fault only afterwards.
    pub(crate) fn record(lease: Lease, journal: &Arc<dyn Journal>, target: &Arc<dyn FaultTarget>) -> Result<Self, FaultError> {
        journal.record(&lease)?;
        Ok(Self { lease: Some(lease), journal: journal.clone(), target: target.clone() })
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether `hit` returns true for every unit of the lease.
    pub(crate) fn covered_by(&self, hit: impl Fn(&str, &str) -> bool) -> bool {
        match self.lease.as_ref().map(|lease| &lease.undo) {
            Some(Undo::Continue { targets }) => targets.iter().all(|on| on.units.iter().all(|unit| hit(&on.node, unit))),
            Some(Undo::ReleaseNetwork) => false,
            None => true,
        }
    }

    /// Undoes the fault. After an error the lease is still open and this can be retried.
    pub(crate) async fn close(&mut self) -> Result<(), FaultError> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        undo(&lease.undo, &*self.target).await?;
        self.journal.healed(&lease.id)?;
        self.lease = None;
        Ok(())
    }

    /// Closes a lease whose fault was undone in another way.
    pub(crate) fn settled(&mut self) -> Result<(), FaultError> {
        if let Some(lease) = &self.lease {
            self.journal.healed(&lease.id)?;
            self.lease = None;
        }
        Ok(())
    }

    /// Leaves the fault to the journal: it is undone by `heal`, not when this is dropped.
    pub(crate) fn leave(&mut self) {
        self.lease = None;
    }
}

impl Drop for OpenLease {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (journal, target) = (self.journal.clone(), self.target.clone());
        runtime.spawn(async move {
            if undo(&lease.undo, &*target).await.is_ok() {
                // If the journal cannot be written, the lease is only undone once more later.
                let _ = journal.healed(&lease.id);
            }
        });
    }
}

/// The wall clock in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis() as u64)
}

/// A number that is unique among all shots at this lab; agents distinguish shots by it.
pub(crate) fn next_shot() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_nanos() as u64);
    // The clock distinguishes this process from its predecessors, the counter two shots at the same moment.
    nanoseconds.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}
