//! What labctl keeps on disk about a lab, and the protocol between commands and the supervisor.
//!
//! This crate is all that the supervisor and the commands share: neither depends on the other's code. Nothing in it runs a machine.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
pub mod client;
pub mod control;
pub mod environment;
pub mod event;
mod failure;
pub mod follow;
pub mod guest_kernel;
pub mod home;
pub mod identity;
pub mod initrd;
pub mod journal;
pub mod keys;
pub mod life;
pub mod node_folder;
pub mod persist;
pub mod record;
pub mod room;
pub mod seed;
pub mod snapshot;
pub mod spare_keys;
pub mod template;
pub mod work;

pub use failure::{Failure, Kind};
