//! The network of a lab: a user-space switch that joins the virtual machines, ends their connections to the outside in
//! ordinary sockets, knows their names, publishes their ports on the host, and impairs whatever it is asked to.
//!
//! One task owns the switch's state (`engine`). Each port and each connection that ends in the switch has a task
//! of its own and speaks with it through bounded channels. QEMU listens and the switch connects, so that the switch may
//! die and come back while the guests run on.

mod capture;
mod command;
mod counters;
mod delay;
mod dial;
mod engine;
mod flow;
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
pub use hold::HeldReport;
pub use impair::{Edge, EdgeCounters, End, Impairment};
pub use publish::PublishError;
pub use switch::{Switch, SwitchConfig};
