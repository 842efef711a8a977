//! labctl's agent: what runs inside a guest.

pub mod facts;
pub mod modules;
