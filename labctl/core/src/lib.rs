//! The commands' side of a lab: what `labctl up` and related commands do. Connects the engines (image, guest, provision, chaos), which are
//! independent of each other.
//!
//! A lab's machines belong to its supervisor, a separate process; everything else happens in the process of the command and reaches the
//! supervisor through [`labctl_lab::client`]. Nothing here prints: commands return values and send [`labctl_lab::event`]s.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod autostart;
mod baked;
pub mod basis;
mod changes;
pub mod chaos;
pub mod console;
pub mod copy;
pub mod doctor;
pub mod exec;
pub mod exports;
pub mod golden;
pub mod graph;
pub mod host;
mod host_keys;
pub mod host_proxy;
pub mod hosts_file;
mod http;
pub mod images;
pub mod inventory;
pub mod job;
pub mod layer;
pub mod lifecycle;
pub mod listing;
mod nomad;
mod openness;
mod passing;
pub mod project;
pub mod provisioning;
pub mod prune;
pub mod shipped;
pub mod snapshot;
pub mod ssh;
pub mod sync;
pub mod template;
pub mod terraform;
mod unattended;
pub mod up;
pub mod usage;
pub mod validation;
