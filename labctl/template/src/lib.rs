//! Makes templates: boots a machine, lets it settle, saves it. The layout in the store is described in [`labctl_lab::template`].

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod build;
mod stop;
pub mod unfinished;

pub use build::{clear, make, nobody, put, save, seal};
pub use stop::stopped;
