//! Why an artifact is not available.

use labctl_spec::artifact::Artifact;

use super::PassedOver;
use crate::download::DownloadError;
use crate::missing::Missing;
use crate::store_error::StoreError;

/// An artifact is not available.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No source worked.
    #[error("{artifact} {version} is not available from any of its sources: {}", list(passed_over))]
    NoSource {
        /// The artifact.
        artifact: String,
        /// Its version.
        version: String,
        /// Every source and why it failed.
        passed_over: Vec<PassedOver>,
    },
    /// No source worked, but one of them would if the host had what it lacks.
    #[error("{artifact} {version} is not available: {missing}; its sources: {}", list(passed_over))]
    Missing {
        /// The artifact.
        artifact: String,
        /// Its version.
        version: String,
        /// What the host lacks and how to get it.
        missing: Box<Missing>,
        /// Every source and why it failed.
        passed_over: Vec<PassedOver>,
    },
    /// The declaration asks for something impossible.
    #[error("artifact {artifact}: {reason}")]
    Invalid {
        /// The artifact.
        artifact: String,
        /// What is wrong.
        reason: String,
    },
    /// The thread that fetched it panicked.
    #[error("artifact {artifact}: fetching it was aborted: {reason}")]
    Aborted {
        /// The artifact.
        artifact: String,
        /// The error from the runtime.
        reason: String,
    },
}

impl ArtifactError {
    /// What the user can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) => error.hint(),
            Self::Missing { missing, .. } => missing.fix.clone(),
            Self::NoSource { artifact, version, .. } => format!(
                "correct one of the sources, or put the program with a SHA256SUMS file beside it into $LABCTL_ARTIFACTS/{artifact}/{version}/"
            ),
            Self::Invalid { .. } => "correct the artifact file".into(),
            Self::Aborted { .. } => "repeat the command".into(),
        }
    }

    pub(super) fn no_source(artifact: &Artifact, passed_over: Vec<PassedOver>) -> Self {
        let (name, version) = (artifact.name.clone(), artifact.version.clone());
        match passed_over.iter().rev().find_map(|passed| passed.missing.clone()) {
            Some(missing) => Self::Missing { artifact: name, version, missing: Box::new(missing), passed_over },
            None => Self::NoSource { artifact: name, version, passed_over },
        }
    }
}

fn list(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "it has none".into();
    }
    let lines = passed_over.iter().map(|passed| format!("{} ({})", passed.source, passed.why));
    lines.collect::<Vec<_>>().join(", ")
}

/// Why one source failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store itself failed; no other source would help.
    Store(StoreError),
    /// The host lacks something.
    Missing(Missing),
    /// The reason, in one line.
    Source(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::Store(error) => Self::Store(error),
            other => Self::Source(other.to_string()),
        }
    }
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}
