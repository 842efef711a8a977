//! Modules for the running system: units, commands, mounts, kernel settings, facts.

pub(crate) mod alternatives;
pub(crate) mod alternatives_database;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod cron;
pub(crate) mod filesystem;
pub(crate) mod git;
pub(crate) mod hostname;
pub(crate) mod locale_gen;
pub(crate) mod modprobe;
pub(crate) mod mount;
pub(crate) mod ping;
pub(crate) mod script;
pub(crate) mod service_facts;
pub(crate) mod setup;
pub(crate) mod sysctl;
pub(crate) mod systemd;
pub(crate) mod timezone;
