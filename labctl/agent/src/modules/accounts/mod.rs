//! Modules for users, groups, keys and limits.

pub(crate) mod account_ids;
pub(crate) mod authorized_key;
pub(crate) mod getent;
pub(crate) mod group;
pub(crate) mod htpasswd;
pub(crate) mod known_hosts;
pub(crate) mod openssh_keypair;
pub(crate) mod pam_limits;
pub(crate) mod pamd;
pub(crate) mod pamd_line;
pub(crate) mod passwd;
pub(crate) mod password_hash;
pub(crate) mod user;
pub(crate) mod user_home;
pub(crate) mod user_lines;
