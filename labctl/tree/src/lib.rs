//! Copies of folders: what is in one ([`walk`]), what another lacks, and one stream that brings it there. Both sides are here, because the
//! agent and the host are sender and receiver in turn: the host sends what is synced, the agent sends what is copied out of a node.
//!
//! An item is unchanged if length, time (in nanoseconds), mode and link target are equal; a digest is computed only where the time differs
//! and the length does not. So an unchanged folder costs one round trip: the manifest there, nothing back. The format is in
//! [`labctl_wire::tree`].
//!
//! A file is written under a temporary name beside its own and renamed. It is not synced to the disk one by one: a guest that loses power
//! meanwhile may have empty files, whose length tells the next copy.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod digest;
mod error;
mod faults;
mod owner;
mod passed;
mod pipe;
mod receive;
mod rules;
mod send;
#[cfg(test)]
mod tests;
pub mod walk;

pub use digest::sha256;
pub use error::TreeError;
pub use owner::Owner;
pub use passed::Passed;
pub use pipe::Pipe;
pub use receive::{Receiver, receive};
pub use rules::{BadRule, Rules};
pub use send::{Source, send};
pub use walk::Manifest;
