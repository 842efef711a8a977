//! A builder whose answers are recorded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_provision::{Content, Target, TargetError};
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value};

use crate::baked::{Answer, FACTS, Step, after, digest, lock};

/// Facts that a node shares with all others of its template (Ansible's names, without the prefix `ansible_`). Facts not listed here are
/// specific to a node, or change by themselves.
const PLATFORM: [&str; 28] = [
    "apparmor",
    "architecture",
    "distribution",
    "distribution_file_parsed",
    "distribution_file_path",
    "distribution_file_variety",
    "distribution_major_version",
    "distribution_release",
    "distribution_version",
    "fips",
    "is_chroot",
    "kernel",
    "kernel_version",
    "lsb",
    "machine",
    "memtotal_mb",
    "os_family",
    "pkg_mgr",
    "processor",
    "processor_cores",
    "processor_count",
    "processor_nproc",
    "processor_vcpus",
    "selinux",
    "service_mgr",
    "system",
    "userspace_architecture",
    "userspace_bits",
];

/// Forwards every call, and records it.
pub struct Recorder {
    inner: Arc<dyn Target>,
    notes: Mutex<(String, Vec<Step>)>,
    /// Name of the current task.
    task: Arc<Mutex<String>>,
}

impl Recorder {
    /// Records what happens on `inner`, a fork of the template `stock`.
    pub fn new(inner: Arc<dyn Target>, stock: &str, task: Arc<Mutex<String>>) -> Self {
        Self { inner, notes: Mutex::new((stock.to_owned(), Vec::new())), task }
    }

    /// The last chain, and all steps.
    pub fn notes(&self) -> (String, Vec<Step>) {
        lock(&self.notes).clone()
    }

    fn note(&self, asked: String, module: &str, answer: Answer) {
        let task = lock(&self.task).clone();
        let (chain, steps) = &mut *lock(&self.notes);
        *chain = after(chain, &asked);
        steps.push(Step { chain: chain.clone(), asked, task, module: module.to_owned(), answer });
    }
}

fn never<T>(what: &str) -> Result<T, TargetError> {
    Err(TargetError::Failed(format!("{what} cannot be baked")))
}

impl Target for Recorder {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        Box::pin(async move {
            let (asked, module) = (digest(&call), call.module.clone());
            let reply = self.inner.call(call).await?;
            // If content is requested, the same call follows.
            if !reply.needs_content {
                self.note(asked, &module, Answer::Reply(reply.clone()));
            }
            Ok(reply)
        })
    }

    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        self.inner.put(content, sha256, to)
    }

    fn state(&self) -> String {
        self.inner.state()
    }

    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        Box::pin(async { never("fetching a file") })
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        Box::pin(async {
            let mut facts = self.inner.facts().await?;
            facts.retain(|name, _| PLATFORM.contains(&name.as_str()));
            self.note(FACTS.to_owned(), "setup", Answer::Facts(facts.clone()));
            Ok(facts)
        })
    }

    fn reboot(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async { never("a reboot") })
    }

    fn await_ready(&self, timeout: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        self.inner.await_ready(timeout)
    }
}
