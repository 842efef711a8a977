//! The network of a lab: a user-space switch that connects the virtual machines, terminates their outside connections
//! in ordinary sockets, resolves their names, publishes their ports on the host, and applies impairments.
//!
//! One task owns the switch's state (`engine`). Each port and each connection that is terminated in the switch has its
//! own task and communicates with the switch's task through bounded channels. QEMU listens and the switch connects, so
//! that the switch can die and come back while the guests keep running.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod capture;
mod command;
mod counters;
mod delay;
mod dial;
mod engine;
mod flow;
mod fragments;
mod frame;
mod gateway;
mod hold;
mod impair;
mod names;
mod packet;
mod place;
mod port;
mod publish;
mod queue;
mod switch;
mod table;
mod uplink;

pub use command::PortConfig;
pub use counters::{Counters, PortCounters, UplinkCounters};
pub use dial::DialError;
pub use flow::host::DialStream;
pub use publish::{Listen, PublishError};
pub use switch::{Switch, SwitchConfig};
