//! Modules that use the network.

pub(crate) mod consul_kv;
pub(crate) mod get_url;
pub(crate) mod http;
pub(crate) mod iptables;
pub(crate) mod iptables_rule;
pub(crate) mod nomad;
pub(crate) mod rest;
pub(crate) mod ufw;
pub(crate) mod uri;
pub(crate) mod wait_for;
