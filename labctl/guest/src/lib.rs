//! Channels to a guest: the agent behind any byte stream ([`link`]), requests to it ([`agent`]), and passing such a channel on to another
//! process ([`relay`]), copies of folders ([`tree`]). SSH for people and for guests without the agent ([`ssh`]).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod agent;
pub mod error;
pub mod input;
pub mod link;
pub mod relay;
pub mod ssh;
mod table;
pub mod terminal;
pub mod tree;
mod window;

pub use agent::Agent;
pub use error::GuestError;
pub use link::{Exchange, Link, LinkState, Outbox};

/// The agent program for the guest: static, for Linux on this host's architecture.
pub const AGENT_PROGRAM: &[u8] = include_bytes!(env!("LABCTL_AGENT"));

/// SHA-256 of [`AGENT_PROGRAM`], in hex.
pub const AGENT_SHA256: &str = env!("LABCTL_AGENT_SHA256");
