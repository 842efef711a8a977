//! Modules that speak to others over the network.

pub(crate) mod consul;
pub(crate) mod get_url;
pub(crate) mod http;
pub(crate) mod uri;
pub(crate) mod wait_for;
