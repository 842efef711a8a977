//! The programs of roles, from the store.

use std::path::Path;

use futures_util::future::BoxFuture;
use labctl_image::Store;
use labctl_provision::{Artifact, Artifacts};
use labctl_spec::load_artifacts;
use tokio::sync::mpsc::UnboundedSender;

use crate::event::Event;
use crate::images::report;

/// Artifacts that roles declare in `artifacts.yml`, made or fetched where the store does not have them.
pub struct StoredArtifacts {
    store: Store,
    notes: UnboundedSender<Event>,
}

impl StoredArtifacts {
    /// From that store; what happens meanwhile goes to `notes`.
    pub fn new(store: Store, notes: UnboundedSender<Event>) -> Self {
        Self { store, notes }
    }
}

impl Artifacts for StoredArtifacts {
    fn resolve<'a>(&'a self, role: &'a Path, name: &'a str) -> BoxFuture<'a, Result<Artifact, String>> {
        Box::pin(async move {
            let file = role.join("artifacts.yml");
            let declared = load_artifacts(&file).map_err(|why| why.to_string())?;
            let artifact = declared
                .iter()
                .find(|artifact| artifact.name == name)
                .ok_or_else(|| format!("{}: there is no artifact `{name}`", file.display()))?;
            let what = format!("{name} {}", artifact.version);
            let notes = self.notes.clone();
            let each = move |event: Event| {
                // The run is over if nobody listens.
                let _ = notes.send(event);
            };
            let stored = self.store.artifact(artifact, role, &report(&what, &each)).await.map_err(|why| why.to_string())?;
            Ok(Artifact { path: stored.path, sha256: stored.sha256, size: stored.size, version: artifact.version.clone() })
        })
    }
}
