//! Modules about packages and what else software comes from.

pub(crate) mod apt;
pub(crate) mod apt_deb;
pub(crate) mod apt_get;
pub(crate) mod apt_sources;
pub(crate) mod apt_spec;
pub(crate) mod debconf;
pub(crate) mod dpkg;
pub(crate) mod git;
