//! Leases: what a fault leaves behind, recorded before the fault is injected, so that any process can undo it later.
//!
//! ```text
//! record ──▶ inject ──▶ (time passes) ──▶ undo ──▶ healed
//!    │                        │
//!    └── the process dies anywhere here: the next one reads the journal and undoes what has expired
//! ```
//!
//! Undoing is idempotent: undoing something that never happened or is already undone changes nothing.

use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::target::{FaultError, FaultTarget, Target};
use crate::undo::Undo;

/// The intent to break something, and how it is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique for the lab: the wall clock in nanoseconds and a counter. Usable as a file name.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
    /// What is done, for display.
    pub what: String,
    /// How it is undone.
    pub undo: Undo,
    /// When it must be undone even without a request, in milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// The process whose run undoes it, if the fault is not to outlive that process; none for faults that last as long as the scenario says,
    /// whatever dies.
    #[serde(default)]
    pub owner: Option<Owner>,
}

/// A process, unique within this boot of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since the host booted.
    pub ticks: u64,
}

/// Where leases are kept. Implemented by the owner of the lab's state directory.
pub trait Journal: Send + Sync {
    /// Records the lease. It is durable when this returns; only then is the fault injected.
    ///
    /// # Errors
    /// The lease could not be written; the fault is then not injected.
    fn record(&self, lease: &Lease) -> Result<(), FaultError>;

    /// The lease's fault is undone. Unknown and repeated ids are fine.
    ///
    /// # Errors
    /// It could not be written; a later [`heal`] then undoes the lease once more.
    fn healed(&self, id: &str) -> Result<(), FaultError>;

    /// All leases that are recorded but not healed.
    ///
    /// # Errors
    /// The journal could not be read.
    fn open(&self) -> Result<Vec<Lease>, FaultError>;
}

/// What [`heal`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healing {
    /// The `what` of each lease that was undone.
    pub healed: Vec<String>,
    /// What could not be undone, and why. Their leases stay open.
    pub failed: Vec<String>,
}

/// Undoes everything in the journal and, whatever it holds, releases the network. Safe to call at any time, repeatedly and concurrently.
/// With `only`, only leases that it selects are undone, and a network hold is left to its own limit. A supervisor does this with leases that
/// have expired.
///
/// # Errors
/// The journal could not be read. Faults that could not be undone are not an error here: see [`Healing::failed`].
pub async fn heal(
    journal: &dyn Journal,
    target: &dyn FaultTarget,
    only: Option<&(dyn Fn(&Lease) -> bool + Sync)>,
) -> Result<Healing, FaultError> {
    let mut healing = Healing::default();
    if only.is_none()
        && let Err(error) = target.release_network().await
    {
        healing.failed.push(format!("the switch: {error}"));
    }
    // Side by side: a node that does not answer holds up no other.
    let leases = journal.open()?.into_iter().filter(|lease| only.is_none_or(|only| only(lease)));
    let undone = leases.map(|lease| async move {
        let undone = async {
            lease.undo.carry_out(target).await?;
            journal.healed(&lease.id)
        };
        match undone.await {
            Ok(()) => Ok(lease.what),
            Err(error) => Err(format!("{}: {error}", lease.what)),
        }
    });
    for undone in join_all(undone).await {
        match undone {
            Ok(what) => healing.healed.push(what),
            Err(why) => healing.failed.push(why),
        }
    }
    Ok(healing)
}

/// An open lease. [`close`](OpenLease::close) undoes it. If it is dropped before that (the run was cancelled), a task on the current
/// runtime undoes it. If the runtime is gone too, the journal keeps it for the next supervisor.
pub(crate) struct OpenLease {
    lease: Option<Lease>,
    journal: Arc<dyn Journal>,
    target: Arc<dyn Target>,
}

impl OpenLease {
    /// Records the lease. Inject the fault only after this.
    pub(crate) fn record(lease: Lease, journal: &Arc<dyn Journal>, target: &Arc<dyn Target>) -> Result<Self, FaultError> {
        journal.record(&lease)?;
        Ok(Self { lease: Some(lease), journal: journal.clone(), target: target.clone() })
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether `done` has undone everything that the lease covers.
    pub(crate) fn is_covered_by(&self, done: &Undo) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.undo.is_covered_by(done))
    }

    /// Undoes the fault. After an error the lease is still open and the call can be repeated.
    pub(crate) async fn close(&mut self) -> Result<(), FaultError> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        lease.undo.carry_out(&*self.target).await?;
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

    /// Leaves the fault to the journal: `heal` undoes it, not the drop of this value.
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
            if lease.undo.carry_out(&*target).await.is_ok() {
                // If the journal cannot be written, the lease is only undone once more later.
                let _ = journal.healed(&lease.id);
            }
        });
    }
}
