//! Modules about users, groups, keys and limits.

pub(crate) mod account_ids;
pub(crate) mod authorized_key;
pub(crate) mod getent;
pub(crate) mod group;
pub(crate) mod known_hosts;
pub(crate) mod openssh_keypair;
pub(crate) mod pam_limits;
pub(crate) mod passwd;
pub(crate) mod user;
pub(crate) mod user_home;
pub(crate) mod user_lines;
