//! How faults are undone. Undoing is idempotent: undoing something that never happened or is already undone changes nothing.

mod processes;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::impaired::ImpairedEdges;
use crate::target::{FaultError, FaultTarget};

pub use processes::UnitsOn;

/// How long undoing one fault may take in total. If an agent does not answer by then, its lease stays open.
const LIMIT: Duration = Duration::from_secs(20);

/// How a fault is undone. It is stored in the journal, so it contains everything needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The switch releases the frames it holds.
    ReleaseNetwork,
    /// SIGCONT to the main processes of units.
    Continue {
        /// Nodes and their units.
        targets: Vec<UnitsOn>,
    },
    /// Edges of the network work again.
    Mend(ImpairedEdges),
}

impl Undo {
    /// Undoes the fault, on all nodes concurrently.
    ///
    /// # Errors
    /// The error of the first node that failed; the other nodes are still undone.
    pub async fn carry_out(&self, target: &dyn FaultTarget) -> Result<(), FaultError> {
        let work = async {
            match self {
                Self::ReleaseNetwork => target.release_network().await.map(drop),
                Self::Continue { targets } => processes::go_on(targets, target).await,
                Self::Mend(edges) => target.mend(&edges.id).await,
            }
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(result) => result,
            Err(_) => Err(FaultError::new(format!("no answer within {LIMIT:?}"))
                .hint("check `labctl status`, then retry with `labctl scenario heal`")),
        }
    }

    /// Whether `other`, which has been carried out, has undone everything that this would undo.
    pub(crate) fn is_covered_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Continue { targets }, Self::Continue { targets: others }) => processes::covers(others, targets),
            (Self::Mend(own), Self::Mend(other)) => own.id == other.id,
            _ => false,
        }
    }
}
