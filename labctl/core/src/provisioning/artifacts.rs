//! The programs of roles, from the store.

use std::path::Path;

use futures_util::future::BoxFuture;
use labctl_image::Store;
use labctl_lab::event::Event;
use labctl_provision::{Artifact, Artifacts};
use labctl_spec::load_artifacts;
use tokio::sync::mpsc::UnboundedSender;

use crate::images::report;

/// Artifacts that roles declare in `artifacts.yml`, built or downloaded if the store does not have them.
pub struct StoredArtifacts {
    store: Store,
    notes: UnboundedSender<Event>,
}

impl StoredArtifacts {
    /// Uses that store; events are sent to `notes`.
    pub fn new(store: Store, notes: UnboundedSender<Event>) -> Self {
        Self { store, notes }
    }
}

impl Artifacts for StoredArtifacts {
    fn resolve<'a>(&'a self, role: &'a Path, name: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Artifact, String>> {
        Box::pin(async move {
            let file = role.join("artifacts.yml");
            let declared = load_artifacts(&file).map_err(|why| why.to_string())?;
            let artifact = declared
                .iter()
                .find(|artifact| artifact.name == name)
                .ok_or_else(|| format!("{}: there is no artifact `{name}`", file.display()))?;
            let chosen = version.map(|version| artifact.in_version(version)).transpose();
            let chosen = chosen.map_err(|why| format!("{}: artifact {name}: {why}", file.display()))?;
            let artifact = chosen.as_ref().unwrap_or(artifact);
            let what = format!("{name} {}", artifact.version);
            let notes = self.notes.clone();
            let each = move |event: Event| {
                // If the receiver is closed, the run is over.
                let _ = notes.send(event);
            };
            let stored = self.store.artifact(artifact, role, &report(&what, &each)).await.map_err(|why| why.to_string())?;
            Ok(Artifact { path: stored.path, sha256: stored.sha256, size: stored.size, version: artifact.version.clone() })
        })
    }
}
