//! Job files that were compared with what Nomad has, and found to be the same.
//!
//! Nomad's comparison (parsing the file, planning the job) takes an emulated guest more time than everything else that is asked about a job
//! that runs. Its result stays true while file and job are the same: Nomad gives a job a new modify index and a new time whenever it is
//! registered, by whomever.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::look::Job;

/// Maximum number of comparisons to remember.
const MOST: usize = 64;

/// What was compared: a file's text, and where it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) address: String,
    /// As the task gives it; a file may name another.
    pub(super) namespace: String,
    pub(super) text: String,
}

/// The job that the file is the same as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven {
    pub(super) id: String,
    pub(super) namespace: String,
    registered: (u64, u64, i64),
}

static PROVEN: LazyLock<Mutex<HashMap<Question, Proven>>> = LazyLock::new(Mutex::default);

fn all() -> MutexGuard<'static, HashMap<Question, Proven>> {
    PROVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What identifies one registration of a job; none if Nomad is too old to say.
fn registration(job: &Job) -> Option<(u64, u64, i64)> {
    (job.job_modify_index > 0 && job.submit_time > 0).then_some((job.create_index, job.job_modify_index, job.submit_time))
}

/// Remembers that the file is the same as the job.
pub(super) fn keep(question: Question, id: &str, namespace: &str, job: &Job) {
    let Some(registered) = registration(job) else { return };
    let mut all = all();
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(question, Proven { id: id.to_owned(), namespace: namespace.to_owned(), registered });
}

/// The job that the file was found to be the same as.
pub(super) fn find(question: &Question) -> Option<Proven> {
    all().get(question).cloned()
}

impl Proven {
    /// Whether the job is still the one that was compared.
    pub(super) fn still_is(&self, job: &Job) -> bool {
        registration(job) == Some(self.registered)
    }
}
