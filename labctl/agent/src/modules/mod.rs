//! Task modules: Ansible's, by name, argument and result, done with system calls instead of processes wherever Linux allows.
//!
//! ```text
//! ModuleCall ─▶ find module ─▶ check arguments ─▶ (become user) ─▶ module ─▶ ModuleReply
//!                                                                   │ check: predicts, changes nothing
//!                                                                   └ apply: changes what differs
//! ```
//! A call for another user runs in a child of this program that has taken on that user's ids before it started
//! ([`run_child`]): file access is then decided by the kernel as for the user, in every thread.

mod arguments;
mod artifact;
mod atomic_write;
mod become_user;
pub(crate) mod clock;
mod content;
mod debconf;
mod diff;
mod digest;
mod mode;
mod outcome;
mod ownership;
pub(crate) mod passwd;
pub(crate) mod root;
pub(crate) mod spawn;
mod task;
pub(crate) mod text;

mod account_ids;
mod apt;
mod apt_deb;
mod apt_get;
mod apt_sources;
mod apt_spec;
mod archive_read;
mod authorized_key;
mod base64;
mod blockinfile;
mod command;
mod consul;
mod copy;
mod copy_tree;
mod cron;
pub(crate) mod dpkg;
mod edit;
mod extended;
mod file;
mod file_flags;
mod find;
mod find_glob;
mod get_url;
mod getent;
mod git;
mod group;
mod hostname;
mod http;
mod ini_file;
mod lineinfile;
mod mount;
mod pam_limits;
mod ping;
mod python_regex;
mod replace;
mod setup;
mod stat;
mod sysctl;
mod systemd;
mod tempfile;
mod timestamps;
mod unarchive;
mod uri;
mod user;
mod user_home;
mod user_lines;
mod wait_for;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::Value;

pub use become_user::run_child;

use arguments::Arguments;
use outcome::{Done, Outcome};
use root::Root;
use task::{Module, Task};

/// All modules.
const MODULES: &[&Module] = &[
    &apt::MODULE,
    &artifact::MODULE,
    &blockinfile::MODULE,
    &command::MODULE,
    &copy::MODULE,
    &file::MODULE,
    &get_url::MODULE,
    &group::MODULE,
    &lineinfile::MODULE,
    &sysctl::MODULE,
    &ini_file::MODULE,
    &find::MODULE,
    &getent::MODULE,
    &wait_for::MODULE,
    &hostname::MODULE,
    &tempfile::MODULE,
    &cron::MODULE,
    &authorized_key::MODULE,
    &mount::MODULE,
    &getent::SLURP,
    &hostname::TIMEZONE,
    &hostname::MODPROBE,
    &tempfile::ASSEMBLE,
    &authorized_key::KNOWN_HOSTS,
    &unarchive::MODULE,
    &apt_sources::REPOSITORY,
    &apt_sources::DEB822,
    &apt_sources::KEY,
    &debconf::MODULE,
    &debconf::SELECTIONS,
    &git::MODULE,
    &git::PIP,
    &consul::KV,
    &consul::JOB,
    &pam_limits::MODULE,
    &pam_limits::LOCALE,
    &extended::XATTR,
    &extended::CAPABILITIES,
    &extended::ACL,
    &extended::ALTERNATIVES,
    &extended::FILESYSTEM,
    &extended::KEYPAIR,
    &ping::MODULE,
    &replace::MODULE,
    &setup::MODULE,
    &setup::PACKAGES,
    &setup::SERVICES,
    &stat::MODULE,
    &systemd::MODULE,
    &systemd::SERVICE,
    &uri::MODULE,
    &user::MODULE,
];

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut names: Vec<_> = MODULES.iter().flat_map(|module| module.names.iter().copied()).collect();
    names.sort_unstable();
    names
});

/// Short names of all modules, sorted.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// Runs a module to its end. Never panics; every fault is a result with `failed` and `msg`.
pub fn run(call: &ModuleCall) -> ModuleReply {
    run_in(&Root::real(), call)
}

fn run_in(root: &Root, call: &ModuleCall) -> ModuleReply {
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(root, call)));
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
            let msg = format!("fault of labctl's own in module {}: {what}", call.module);
            let mut reply = ModuleReply::default();
            reply.result.insert("failed".into(), true.into());
            reply.result.insert("changed".into(), false.into());
            reply.result.insert("msg".into(), msg.into());
            reply
        }
    }
}

fn finish(done: Done) -> ModuleReply {
    let Done { mut result, needs_content } = done;
    result.entry("changed").or_insert(false.into());
    add_lines(&mut result);
    ModuleReply { result, needs_content }
}

/// `stdout_lines` and `stderr_lines` beside every `stdout` and `stderr`.
fn add_lines(result: &mut serde_json::Map<String, Value>) {
    for key in ["stdout", "stderr"] {
        if let Some(Value::String(text)) = result.get(key) {
            let lines = text::split_lines(text);
            result.entry(format!("{key}_lines")).or_insert(Value::Array(lines));
        }
    }
}

fn dispatch(root: &Root, call: &ModuleCall) -> Outcome {
    let name = call.module.rsplit('.').next().unwrap_or_default();
    let Some(module) = MODULES.iter().find(|module| module.names.contains(&name)) else {
        return Err(format!("module {} is not supported in guests", call.module).into());
    };
    let args = Arguments::check(name, &call.args, module.params, module.files)?;
    if become_user::is_needed(root, call)? && !become_user::spawns_itself(name) {
        return become_user::run_as(root, call);
    }
    let task = Task { call, args, root, check: call.check, diff: call.diff };
    (module.run)(&task)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::Bench;
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        let names = names();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
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
