//! The agent: a static program that does labctl's work inside a guest. It is `/init` of the guest's initrd, then a service that listens
//! on a virtio-serial port. On machines that labctl did not create it talks over the standard streams of an SSH session.
//!
//! Blocking threads and system calls, no async runtime: what a fork costs is what it touches when it wakes.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod accounts;
pub mod identity;
pub mod init;
pub mod modules;
pub mod serve;
mod systemd;
