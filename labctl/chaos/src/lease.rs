//! Leases: what a fault leaves behind, written down before it is done, so that anyone can undo it later.
//!
//! ```text
//! record ──▶ inject ──▶ (time passes) ──▶ undo ──▶ healed
//!    │                        │
//!    └── the process dies anywhere here: the next one reads the journal and undoes what has expired
//! ```
//!
//! Undoing is idempotent: undoing what never happened, or was undone already, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use labctl_spec::scenario::Signal;
use serde::{Deserialize, Serialize};

use crate::target::{FaultError, FaultTarget};

/// How long undoing one lease may take in all. An agent that does not answer by then keeps its lease open.
const UNDO_LIMIT: Duration = Duration::from_secs(20);

/// The intent to break something, and how it is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique for the lab: the wall clock in nanoseconds and a counter. Usable as a file name.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
    /// What is done, for people.
    pub what: String,
    /// How it is undone.
    pub undo: Undo,
    /// When it must be undone even if nobody asks, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// How a fault is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The switch lets go of the frames it holds.
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

/// Where leases are kept. Implemented by whoever owns the lab's state directory.
pub trait Journal: Send + Sync {
    /// Writes the lease down. It is durable when this returns: only then is the fault injected.
    ///
    /// # Errors
    /// The lease could not be written; the fault is then not injected.
    fn record(&self, lease: &Lease) -> Result<(), FaultError>;

    /// The lease's fault is undone. Unknown and repeated ids are fine.
    ///
    /// # Errors
    /// It could not be written; the lease is then undone once more by a later [`heal`].
    fn healed(&self, id: &str) -> Result<(), FaultError>;

    /// All leases that are recorded and not healed.
    ///
    /// # Errors
    /// The journal could not be read.
    fn open(&self) -> Result<Vec<Lease>, FaultError>;
}

/// What [`heal`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healing {
    /// What the undone leases had done.
    pub healed: Vec<String>,
    /// What could not be undone, and why. Their leases stay open.
    pub failed: Vec<String>,
}

/// Undoes what the journal holds, and lets the switch go in any case. Safe at any time, to repeat, and beside itself.
/// With `expired_by` (milliseconds since 1970) only leases that have expired by then are undone: what a supervisor does when it
/// comes back, and at every expiry; a hold of the network is then left to its own limit.
///
/// # Errors
/// The journal could not be read. Faults that could not be undone are no error of this call: see [`Healing::failed`].
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

/// Undoes one fault, on all nodes side by side.
///
/// # Errors
/// The first node that failed; the others are undone nevertheless.
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
    // Whoever is the unit's main process now: a unit that was restarted meanwhile is running, and SIGCONT does nothing to it.
    let shot = next_shot();
    target.arm(&on.node, shot, &on.units).await?;
    let signalled = target.fire(&on.node, shot, Signal::Sigcont).await?;
    match signalled.into_iter().find_map(|death| Some((death.unit, death.error?))) {
        Some((unit, error)) => Err(FaultError::new(format!("{}: {unit}: {error}", on.node))),
        None => Ok(()),
    }
}

/// A lease that is open. Undone by [`close`](OpenLease::close); if it is dropped before (the run was cancelled), a task of
/// the current runtime undoes it; if there is no runtime any more, the journal keeps it for the next supervisor.
pub(crate) struct OpenLease {
    lease: Option<Lease>,
    journal: Arc<dyn Journal>,
    target: Arc<dyn FaultTarget>,
}

impl OpenLease {
    /// Writes the lease down. Inject the fault only afterwards.
    pub(crate) fn record(lease: Lease, journal: &Arc<dyn Journal>, target: &Arc<dyn FaultTarget>) -> Result<Self, FaultError> {
        journal.record(&lease)?;
        Ok(Self { lease: Some(lease), journal: journal.clone(), target: target.clone() })
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether `hit` says yes to every unit that the lease stands for.
    pub(crate) fn covered_by(&self, hit: impl Fn(&str, &str) -> bool) -> bool {
        match self.lease.as_ref().map(|lease| &lease.undo) {
            Some(Undo::Continue { targets }) => targets.iter().all(|on| on.units.iter().all(|unit| hit(&on.node, unit))),
            Some(Undo::ReleaseNetwork) => false,
            None => true,
        }
    }

    /// Undoes the fault. After an error the lease is still open and this can be repeated.
    pub(crate) async fn close(&mut self) -> Result<(), FaultError> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        undo(&lease.undo, &*self.target).await?;
        self.journal.healed(&lease.id)?;
        self.lease = None;
        Ok(())
    }

    /// For faults that were undone in another way.
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
                // A journal that cannot be written only means that the lease is undone once more later.
                let _ = journal.healed(&lease.id);
            }
        });
    }
}

/// The wall clock in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis() as u64)
}

/// A number that no other shot at this lab has: agents keep shots apart by it.
pub(crate) fn next_shot() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_nanos() as u64);
    // The clock tells this process from its predecessors, the counter two shots of one moment apart.
    nanoseconds.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}
