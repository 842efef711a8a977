//! Task modules: those of Ansible, with the same names, arguments and results, using system calls instead of processes wherever Linux
//! allows.
//!
//! ```text
//! ModuleCall ─▶ find module ─▶ check arguments ─▶ (become user) ─▶ module ─▶ ModuleReply
//!                                                                   │ check: predicts, changes nothing
//!                                                                   └ apply: changes what differs
//! ```
//! A call for a different user runs in a child of this program that switched to that user's ids before it started ([`run_child`]): the
//! kernel then checks file access as for the user, in every thread.

pub(crate) mod accounts;
pub(crate) mod call;
pub mod facts;
pub(crate) mod files;
pub(crate) mod network;
pub(crate) mod packages;
pub(crate) mod system;
pub(crate) mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use labctl_wire::{ModuleCall, ModuleReply, modules};
use serde_json::Value;

pub use call::become_user::run_child;

use call::arguments::Arguments;
use call::outcome::{Done, Outcome};
use call::root::Root;
use call::task::{Module, Task};

/// All modules.
const MODULES: &[&Module] = &[
    &accounts::authorized_key::MODULE,
    &accounts::getent::MODULE,
    &accounts::group::MODULE,
    &accounts::htpasswd::MODULE,
    &accounts::known_hosts::MODULE,
    &accounts::openssh_keypair::MODULE,
    &accounts::pam_limits::MODULE,
    &accounts::pamd::MODULE,
    &accounts::user::MODULE,
    &files::acl::MODULE,
    &files::archive::MODULE,
    &files::artifact::MODULE,
    &files::assemble::MODULE,
    &files::blockinfile::MODULE,
    &files::capabilities::MODULE,
    &files::copy::MODULE,
    &files::file::MODULE,
    &files::find::MODULE,
    &files::ini_file::MODULE,
    &files::lineinfile::MODULE,
    &files::replace::MODULE,
    &files::slurp::MODULE,
    &files::stat::MODULE,
    &files::synchronize::MODULE,
    &files::tempfile::MODULE,
    &files::unarchive::MODULE,
    &files::xattr::MODULE,
    &network::consul_kv::MODULE,
    &network::get_url::MODULE,
    &network::iptables::MODULE,
    &network::nomad::deploy::MODULE,
    &network::nomad::job::MODULE,
    &network::ufw::MODULE,
    &network::uri::MODULE,
    &network::wait_for::MODULE,
    &packages::apk::MODULE,
    &packages::apt::MODULE,
    &packages::apt_key::MODULE,
    &packages::apt_repository::MODULE,
    &packages::deb822_repository::MODULE,
    &packages::debconf::MODULE,
    &packages::dnf::MODULE,
    &packages::dpkg_selections::MODULE,
    &packages::package_facts::MODULE,
    &packages::pip::MODULE,
    &system::alternatives::MODULE,
    &system::command::MODULE,
    &system::cron::MODULE,
    &system::filesystem::MODULE,
    &system::git::MODULE,
    &system::hostname::MODULE,
    &system::locale_gen::MODULE,
    &system::modprobe::MODULE,
    &system::mount::MODULE,
    &system::ping::MODULE,
    &system::script::MODULE,
    &system::service_facts::MODULE,
    &system::setup::MODULE,
    &system::sysctl::MODULE,
    &system::systemd::MODULE,
    &system::systemd::SERVICE,
    &system::timezone::MODULE,
];

/// Stands for the package module of the guest's system.
const PACKAGE: &str = "package";

/// The entry for this module name, and its implementation.
fn find(name: &str) -> Option<(&'static modules::Module, &'static Module)> {
    let known = modules::find(name)?;
    Some((known, *MODULES.iter().find(|module| module.names.contains(&known.name))?))
}

/// Runs a module to completion. Never panics; every fault is a result with `failed` and `msg`.
pub fn run(call: &ModuleCall) -> ModuleReply {
    run_unless(&|| false, call)
}

/// The same; a module that waits checks `given_up` meanwhile, and stops soon after it returns true.
pub fn run_unless(given_up: &dyn Fn() -> bool, call: &ModuleCall) -> ModuleReply {
    run_in(&Root::real(), given_up, call)
}

/// The same for a system whose root is the folder `root`.
pub(crate) fn run_below(root: &Path, call: &ModuleCall) -> ModuleReply {
    run_in(&Root::at(root), &|| false, call)
}

fn run_in(root: &Root, given_up: &dyn Fn() -> bool, call: &ModuleCall) -> ModuleReply {
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(root, given_up, call)));
    match outcome {
        Ok(Ok(done)) => finish(done),
        Ok(Err(fault)) => {
            let mut result = fault.extra;
            result.insert("failed".into(), true.into());
            result.entry("changed").or_insert(false.into());
            result.insert("msg".into(), fault.msg.into());
            add_lines(&mut result);
            ModuleReply { result, needs_content: false }
        }
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let msg = format!("internal error of labctl in module {}: {what}", call.module);
            let mut reply = ModuleReply::default();
            reply.result.insert("failed".into(), true.into());
            reply.result.insert("changed".into(), false.into());
            reply.result.insert("msg".into(), msg.into());
            reply
        }
    }
}

/// Longest result, in bytes of its texts: it travels in one packet, and the wire discards anything longer than 64 MiB.
const LONGEST_RESULT: usize = 56 << 20;

fn finish(done: Done) -> ModuleReply {
    let Done { mut result, needs_content } = done;
    result.entry("changed").or_insert(false.into());
    add_lines(&mut result);
    let size: usize = result.values().map(text::length).sum();
    if size > LONGEST_RESULT {
        let msg = format!("the result is {} MiB long; at most {} MiB can be sent", size >> 20, LONGEST_RESULT >> 20);
        let changed = result.remove("changed").unwrap_or_default();
        let result = [("failed".to_owned(), true.into()), ("changed".to_owned(), changed), ("msg".to_owned(), msg.into())];
        return ModuleReply { result: result.into_iter().collect(), needs_content: false };
    }
    ModuleReply { result, needs_content }
}

/// Adds `stdout_lines` and `stderr_lines` for every `stdout` and `stderr`.
fn add_lines(result: &mut serde_json::Map<String, Value>) {
    for key in ["stdout", "stderr"] {
        if let Some(Value::String(text)) = result.get(key) {
            let lines = text::split_lines(text);
            result.entry(format!("{key}_lines")).or_insert(Value::Array(lines));
        }
    }
}

fn dispatch(root: &Root, given_up: &dyn Fn() -> bool, call: &ModuleCall) -> Outcome {
    let name = call.module.rsplit('.').next().unwrap_or_default();
    if name == PACKAGE {
        return dispatch(root, given_up, &packages::package::own_call(root, call)?);
    }
    let Some((known, module)) = find(name) else {
        return Err(format!("module {} is not supported in guests", call.module).into());
    };
    let args = Arguments::check(name, &call.args, module.params, module.files)?;
    // A module that runs a program switches to the user in that process, and so needs no child of the agent.
    if call::become_user::is_needed(root, call)? && !known.runs_programs {
        return call::become_user::run_as(root, call);
    }
    let task = Task { call, args, root, check: call.check, diff: call.diff, given_up };
    (module.run)(&task)
}

#[cfg(test)]
mod robustness_tests;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::call::testing::Bench;
    use super::*;

    /// The controller would refuse a module that is declared but not in the table; the agent, one that is only in the table.
    #[test]
    fn what_is_declared_is_what_the_table_has_at_guests() {
        let mut declared: Vec<_> = MODULES.iter().flat_map(|module| module.names.iter().copied()).chain([PACKAGE]).collect();
        declared.sort_unstable();
        let at_guests = modules::MODULES.iter().filter(|module| module.at != modules::At::Controller);
        assert_eq!(declared, at_guests.map(|module| module.name).collect::<Vec<_>>());
    }

    /// Every name that the controller sends, including aliases, reaches a module.
    #[test]
    fn every_name_is_answered_to() {
        let bench = Bench::new();
        for name in modules::MODULES.iter().filter(|module| module.at != modules::At::Controller).flat_map(modules::Module::names) {
            assert!(name == PACKAGE || find(name).is_some(), "{name}");
        }
        for name in ["sysvinit", "dnf5", "yum", "systemd_service"] {
            assert!(
                bench.fault(name, json!({"zork": 1})).starts_with(&format!("Unsupported parameters for ({name}) module: zork.")),
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_modules_and_arguments_fail() {
        let bench = Bench::new();
        assert_eq!(bench.fault("no_such", json!({})), "module no_such is not supported in guests");
        assert_eq!(
            bench.fault("ansible.builtin.ping", json!({"zork": 1})),
            "Unsupported parameters for (ping) module: zork. Supported parameters include: data."
        );
        assert!(bench.fault("ping", json!({"data": "crash"})).ends_with("boom"));
    }
}
