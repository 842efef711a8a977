//! Modules about the running system: units, commands, mounts, kernel settings, facts.

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod cron;
pub(crate) mod hostname;
pub(crate) mod mount;
pub(crate) mod ping;
pub(crate) mod setup;
pub(crate) mod sysctl;
pub(crate) mod systemd;
