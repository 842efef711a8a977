//! The life of a lab: what `labctl up` and its sisters do. Joins the engines (image, machine, net, guest, provision, chaos),
//! which know nothing of each other.
//!
//! A lab's machines belong to its supervisor ([`supervisor`]), a process of its own; everything else happens in the process of
//! the command and reaches the supervisor through [`client`]. Nothing here prints: commands return values and send [`event`]s.

mod changes;
pub mod chaos;
pub mod client;
pub mod console;
pub mod control;
pub mod doctor;
pub mod event;
pub mod exec;
pub mod failure;
pub mod follow;
pub mod home;
pub mod host;
pub mod hosts_file;
pub mod images;
pub mod initrd;
pub mod keys;
pub mod layer;
pub mod lifecycle;
pub mod persist;
pub mod project;
pub mod provisioning;
pub mod prune;
pub mod record;
mod seed;
pub mod shipped;
pub mod snapshot;
pub mod ssh;
pub mod supervisor;
pub mod template;
pub mod validation;

pub use failure::{Failure, Kind};
pub use labctl_spec as spec;
