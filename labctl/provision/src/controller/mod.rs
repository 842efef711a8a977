//! The controller as plays see it: files, environment, clock, randomness, programs.
//!
//! The engine reads everything on the controller through [`Controller`], which records each question and its answer. So a run's [`Inputs`]
//! are what it has actually read, not what its plays look like. This crate's `clippy.toml` forbids other ways.

mod inputs;
mod question;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

pub use inputs::{Inputs, Manifest};
pub use question::ProgramFn;
use question::Question;

use crate::data::Place;
use crate::template::Scope;

/// What is at a path, following links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A device, a socket.
    Other,
    /// Nothing, or something inaccessible.
    Nothing,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: PathBuf,
    /// Whether it is a folder itself; a link to one does not count.
    pub is_folder: bool,
}

/// The controller, as used by a task or a play.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controller {
    inputs: Inputs,
    /// The user of this value: a task with its location.
    asker: Option<Arc<str>>,
}

impl Controller {
    pub(crate) fn new(inputs: Inputs, asker: Option<Arc<str>>) -> Self {
        Self { inputs, asker }
    }

    /// The controller of the evaluation in progress on this thread.
    pub(crate) fn current() -> Self {
        let scope = Scope::current();
        debug_assert!(scope.is_some(), "filters and functions run in evaluations only");
        scope.map(|scope| scope.controller()).unwrap_or_default()
    }

    /// The path in a form that can be checked again later, regardless of where labctl is started then.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn whole(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            return path.to_owned();
        }
        let here = self.here();
        std::path::absolute(path).unwrap_or_else(|_| here.join(path))
    }

    fn answered(&self, question: Question, answer: String) {
        self.inputs.note(question, answer);
    }

    /// The folder in which labctl was started.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn here(&self) -> PathBuf {
        let here = std::env::current_dir().unwrap_or_default();
        self.answered(Question::Here, question::path_answer(&here));
        here
    }

    pub(crate) fn kind(&self, path: &Path) -> Kind {
        let kind = question::kind(path);
        self.answered(Question::Kind(self.whole(path)), question::kind_answer(kind));
        kind
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.kind(path) != Kind::Nothing
    }

    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Kind::File
    }

    pub(crate) fn is_folder(&self, path: &Path) -> bool {
        self.kind(path) == Kind::Folder
    }

    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let read = fs::read(path);
        let answer = match &read {
            Ok(bytes) => hex::encode(Sha256::digest(bytes)),
            Err(why) => question::error_answer(why),
        };
        self.answered(Question::Content(self.whole(path)), answer);
        read
    }

    pub(crate) fn read_to_string(&self, path: &Path) -> std::io::Result<String> {
        String::from_utf8(self.read(path)?).map_err(|why| std::io::Error::new(std::io::ErrorKind::InvalidData, why.utf8_error()))
    }

    /// SHA-256 (hex) and size of a file that may be large.
    pub(crate) fn measure(&self, path: &Path) -> std::io::Result<(String, u64)> {
        let measured = question::measure(path);
        let answer = match &measured {
            Ok((sha256, _)) => sha256.clone(),
            Err(why) => question::error_answer(why),
        };
        self.answered(Question::Content(self.whole(path)), answer);
        measured
    }

    /// The entries of a folder, sorted.
    pub(crate) fn entries(&self, folder: &Path) -> std::io::Result<Vec<Entry>> {
        let entries = question::entries(folder);
        let answer = match &entries {
            Ok(entries) => question::entries_answer(entries),
            Err(why) => question::error_answer(why),
        };
        self.answered(Question::Entries(self.whole(folder)), answer);
        entries
    }

    /// Records everything at and below a path, for an agent that reads it itself.
    pub(crate) fn tree(&self, path: &Path, follow: bool) {
        let path = self.whole(path);
        let answer = question::tree_answer(&path, follow);
        self.answered(Question::Tree { path, follow }, answer);
    }

    /// Where a path leads after following all links in it.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(path).ok();
        self.answered(Question::Real(self.whole(path)), question::real_answer(real.as_deref()));
        real
    }

    pub(crate) fn is_link(&self, path: &Path) -> bool {
        let link = question::link(path);
        self.answered(Question::Link(self.whole(path)), question::real_answer(link.as_deref()));
        link.is_some()
    }

    /// An environment variable.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = std::env::var(name).ok();
        self.answered(Question::Variable(name.to_owned()), question::variable_answer(value.as_deref()));
        value
    }

    /// Records the program that an artifact's name resolved to.
    pub(crate) fn program(&self, role: &Path, name: &str, version: Option<&str>, sha256: &str) {
        let question = Question::Program { role: self.whole(role), name: name.to_owned(), version: version.map(str::to_owned) };
        self.answered(question, sha256.to_owned());
    }

    /// Seconds since 1970, requested by `what`.
    pub(crate) fn now(&self, what: &str) -> f64 {
        self.uncovered(&format!("reads the clock ({what})"));
        stopwatch()
    }

    /// Unpredictable randomness, requested by `what`.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn random(&self, what: &str) -> StdRng {
        self.uncovered(&format!("uses random numbers ({what})"));
        rand::make_rng()
    }

    /// Records something that no question covers: its result may differ each time, or it has effects outside the run's machines.
    pub(crate) fn uncovered(&self, what: &str) {
        let place = Scope::current_place().filter(|place| !place.file.is_empty());
        let who = match (&self.asker, place) {
            (Some(asker), Some(place)) if !asker.contains(&place.to_string()) => format!("{asker}, because of {place}:"),
            (Some(asker), _) => asker.to_string(),
            (None, Some(place)) => place.to_string(),
            (None, None) => "a play".to_owned(),
        };
        self.inputs.give_up(format!("{who} {what}"));
    }

    /// The same controller, used by a play.
    pub(crate) fn for_play(&self, place: &Place) -> Self {
        Self { inputs: self.inputs.clone(), asker: Some(Arc::from(format!("the play ({place})"))) }
    }
}

/// Seconds since 1970, for the duration that a task reports about itself. Like everything that machines report about themselves, that
/// belongs to the kept run, not to its inputs.
#[expect(clippy::disallowed_methods, reason = "the seam itself")]
pub(crate) fn stopwatch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Reads a file to its end.
fn drain(path: &Path, mut each: impl FnMut(&[u8])) -> std::io::Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    let mut file = fs::File::open(path)?;
    let (mut size, mut buffer) = (0, vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(size),
            read => {
                each(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
