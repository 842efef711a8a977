//! Nodes that a restore could not bring back.

use labctl_lab::Failure;

/// Why a node was not restored.
#[derive(Debug)]
pub enum Lost {
    /// Its memory is unusable: every retry will fail.
    Dead(Failure),
    /// Its machine stopped meanwhile, by itself or on request.
    Ended(Failure),
    /// Something prevented it, and may be gone on a retry.
    Hindered(Failure),
}

impl From<Failure> for Lost {
    fn from(why: Failure) -> Self {
        Self::Hindered(why)
    }
}
