//! Modules for packages and other sources of software.

pub(crate) mod apk;
pub(crate) mod apt;
pub(crate) mod apt_deb;
pub(crate) mod apt_get;
pub(crate) mod apt_key;
pub(crate) mod apt_repository;
pub(crate) mod apt_spec;
pub(crate) mod deb822_repository;
pub(crate) mod debconf;
pub(crate) mod dnf;
pub(crate) mod dpkg;
pub(crate) mod dpkg_selections;
pub(crate) mod package;
pub(crate) mod package_facts;
pub(crate) mod pip;
