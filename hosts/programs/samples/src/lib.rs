//! What the sample services share: an HTTP server, an HTTP client, and who they are. Each program is a file or a folder in `src/bin`.
//!
//! Nothing but the standard library, so that they build offline, quickly and static: as programs of a node, and in container images without
//! anything else.

pub mod client;
pub mod http;
pub mod identity;
pub mod json;
pub mod page;
pub mod run;
pub mod server;
mod stop;
pub mod upstream;
