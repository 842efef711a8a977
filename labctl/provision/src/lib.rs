//! The controller half of an Ansible-compatible engine: plays, roles, variables, templates, handlers.
//!
//! [`run`] reads [playbooks](Book), resolves roles and variables, evaluates templates and calls task modules on machines through the
//! [`Target`] trait. It reports its progress as [`Event`]s, counted in the [`Recap`]. It prints nothing.
//!
//! ```text
//! Book ─▶ playbook (plays, roles, tasks) ─▶ run (order, loops, handlers) ─▶ action ─▶ Target
//!                        Inventory ─▶ variables (precedence) ─▶ template (Jinja) ─┘
//!                        what all of them read here: controller ─▶ Inputs
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run"))]

mod clock;
mod controller;
pub mod data;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod host_pattern;
mod inventory;
mod json;
mod lock;
mod password;
mod playbook;
mod python;
mod render;
mod run;
mod target;
mod template;
mod variables;
mod version;
mod yaml;

pub use controller::{Inputs, Manifest, ProgramFn};
pub use error::PlaybookError;
pub use event::{Event, HostRecap, Recap, Status, Timing};
pub use inventory::{Group, Host, Inventory};
pub use render::render;
pub use run::{Book, EventFn, ListedTask, Options, Setup, SleepFn, Step, StepFn, TargetFn, list_hosts, list_tasks, run};
pub use target::{Artifact, Artifacts, Connection, Content, Target, TargetError};
