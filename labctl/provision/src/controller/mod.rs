//! The controller as plays see it: files, environment, clock, chance, programs.
//!
//! Everything that the engine takes from there is taken through [`Controller`], which writes down what was asked and what the answer
//! was. So a run's [`Inputs`] are what it has read, not what its plays look like. `clippy.toml` of this crate forbids the ways around.

mod inputs;
mod question;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

pub use inputs::{Inputs, Manifest};
use question::Question;

use crate::data::Place;
use crate::template::Scope;

/// What is at a path, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A device, a socket.
    Other,
    /// Nothing, or nothing that can be looked at.
    Nothing,
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: PathBuf,
    /// Whether it is a folder itself; a link to one is not.
    pub is_folder: bool,
}

/// The controller, asked by somebody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controller {
    inputs: Inputs,
    /// Who asks: a task with its place.
    asker: Option<Arc<str>>,
}

impl Controller {
    pub(crate) fn new(inputs: Inputs, asker: Option<Arc<str>>) -> Self {
        Self { inputs, asker }
    }

    /// The controller of the evaluation under way on this thread.
    pub(crate) fn current() -> Self {
        let scope = Scope::current();
        debug_assert!(scope.is_some(), "filters and functions run in evaluations only");
        scope.map(|scope| scope.controller()).unwrap_or_default()
    }

    /// The path as it can be asked for again, wherever labctl is started then.
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

    /// What is in a folder, sorted.
    pub(crate) fn entries(&self, folder: &Path) -> std::io::Result<Vec<Entry>> {
        let entries = question::entries(folder);
        let answer = match &entries {
            Ok(entries) => question::entries_answer(entries),
            Err(why) => question::error_answer(why),
        };
        self.answered(Question::Entries(self.whole(folder)), answer);
        entries
    }

    /// Notes everything at and below a path, for an agent that reads it by itself.
    pub(crate) fn tree(&self, path: &Path, follow: bool) {
        let path = self.whole(path);
        let answer = question::tree_answer(&path, follow);
        self.answered(Question::Tree { path, follow }, answer);
    }

    /// Where a path leads when all links in it are followed.
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

    /// A variable of the environment.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = std::env::var(name).ok();
        self.answered(Question::Variable(name.to_owned()), question::variable_answer(value.as_deref()));
        value
    }

    /// The program that an artifact's name stood for.
    pub(crate) fn program(&self, role: &Path, name: &str, sha256: &str) {
        self.answered(Question::Program { role: self.whole(role), name: name.to_owned() }, sha256.to_owned());
    }

    /// Seconds since 1970, asked for by `what`.
    pub(crate) fn now(&self, what: &str) -> f64 {
        self.uncovered(&format!("asks for the time ({what})"));
        stopwatch()
    }

    /// Chance that nobody can foresee, asked for by `what`.
    #[expect(clippy::disallowed_methods, reason = "the seam itself")]
    pub(crate) fn random(&self, what: &str) -> StdRng {
        self.uncovered(&format!("takes something at random ({what})"));
        StdRng::from_os_rng()
    }

    /// Notes what no question covers: what it gives may be another thing each time, or it does something beyond the run's machines.
    pub(crate) fn uncovered(&self, what: &str) {
        let place = Scope::current_place().filter(|place| !place.file.is_empty());
        let who = match (&self.asker, place) {
            (Some(asker), Some(place)) if !asker.contains(&place.to_string()) => format!("{asker}, by what stands at {place}:"),
            (Some(asker), _) => asker.to_string(),
            (None, Some(place)) => place.to_string(),
            (None, None) => "a play".to_owned(),
        };
        self.inputs.give_up(format!("{who} {what}"));
    }

    /// The same controller, asked by a play.
    pub(crate) fn for_play(&self, place: &Place) -> Self {
        Self { inputs: self.inputs.clone(), asker: Some(Arc::from(format!("the play ({place})"))) }
    }
}

/// Seconds since 1970, for what a task says of its own duration. Like all that machines tell of themselves, that belongs to the run that
/// was kept, not to what it was made from.
#[expect(clippy::disallowed_methods, reason = "the seam itself")]
pub(crate) fn stopwatch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Reads a file through to its end.
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
