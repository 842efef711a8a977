//! Restores a node's files from a snapshot.

use std::path::Path;

use labctl_machine::disk::make_overlay;

use super::SavedNode;
use crate::home::make_closed;
use crate::node_folder::{self, disk};
use crate::{Failure, persist};

/// Gives the node its disk as it was in the snapshot.
pub async fn lay_out(folder: &Path, saved: &SavedNode) -> Result<(), Failure> {
    make_closed(folder)?;
    persist::write_json(&folder.join("image.json"), &saved.image)?;
    if let Some(key) = &saved.template {
        node_folder::note_template(folder, key)?;
    }
    node_folder::born(folder)?;
    let disk = disk::another(folder);
    make_overlay(&disk, &saved.layer, "qcow2", saved.disk).await?;
    disk::take(folder, &disk)?;
    disk::tidy(folder);
    Ok(())
}
