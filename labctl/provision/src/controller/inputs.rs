//! What a run has read from its controller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::question::{ProgramFn, Question};

/// Questions that a run has asked its controller, and the answers. Clones record the same run.
#[derive(Debug, Clone, Default)]
pub struct Inputs(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    answers: BTreeMap<Question, String>,
    /// Why the answers are not complete: the first reason.
    incomplete: Option<String>,
}

/// Everything that a run has read: a later run with the same answers does the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(Vec<(Question, String)>);

impl Inputs {
    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, question: Question, answer: String) {
        let mut asked = self.asked();
        if !question.is_text() {
            let why = format!("the path {} is not UTF-8", question.words());
            asked.incomplete.get_or_insert(why);
            return;
        }
        match asked.answers.get(&question) {
            Some(known) if *known != answer => {
                // Nobody can tell which version had which effect.
                let why = format!("{} changed during the run", question.words());
                asked.incomplete.get_or_insert(why);
            }
            Some(_) => {}
            None => {
                asked.answers.insert(question, answer);
            }
        }
    }

    pub(super) fn give_up(&self, why: String) {
        self.asked().incomplete.get_or_insert(why);
    }

    /// Everything read so far.
    ///
    /// # Errors
    /// Why that does not determine what another run would do: the cause, with file and line.
    pub fn manifest(&self) -> Result<Manifest, String> {
        let asked = self.asked();
        match &asked.incomplete {
            Some(why) => Err(why.clone()),
            None => Ok(Manifest(asked.answers.iter().map(|(question, answer)| (question.clone(), answer.clone())).collect())),
        }
    }
}

impl Manifest {
    /// The first input that has changed, in words; none if nothing has. `program` returns the SHA-256 of the program that a role's artifact
    /// currently resolves to: by the role's folder, the artifact's name, and the version if the task names one.
    pub fn change(&self, program: &ProgramFn<'_>) -> Option<String> {
        self.0.iter().find(|(question, answer)| question.ask(program) != *answer).map(|(question, _)| question.words())
    }

    /// Identifies this manifest; 16 hex digits.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (question, answer) in &self.0 {
            for part in [format!("{question:?}"), answer.clone()] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        hex::encode(&digest.finalize()[..8])
    }
}
