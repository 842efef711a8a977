//! labctl's content store: images that nodes boot and artifacts that roles deliver.
//!
//! A [`Store`] is a folder. Every entry is made in its own folder next to the finished ones, under an exclusive lock,
//! then flushed to disk and renamed into place. An entry is therefore complete or absent, no matter when a process is
//! killed. If two labctl processes want the same entry at once, it is built once: the second waits for the first.
//!
//! - [`Store::image`]: built from Debian packages ([`bootstrap`]) or downloaded ([`cloud`]).
//! - [`Store::artifact`]: a program from a local folder, a signed release, a Go module or a crate of this project.
//! - [`seed::write_seed`]: the small disk that configures a vendor's cloud image.
//! - [`doctor`]: what the host lacks, and the command that installs it.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod artifact;
pub mod baked;
pub mod bootstrap;
mod build;
pub mod checksum;
mod child;
pub mod cloud;
pub mod cpio;
pub mod doctor;
pub mod download;
mod entry;
pub mod error;
mod files;
mod free;
pub mod image;
pub mod missing;
mod modules;
pub mod outside;
pub mod progress;
pub mod provenance;
pub mod seed;
mod space;
pub mod store;
pub mod store_error;
#[cfg(test)]
mod test_server;
mod tree;

pub use artifact::{ArtifactError, PassedOver, StoredArtifact};
pub use error::ImageError;
pub use image::{Boot, BootImage, StoredImage};
pub use progress::{Event, Progress, Silent};
pub use provenance::Provenance;
pub use store::Store;
pub use store_error::StoreError;
