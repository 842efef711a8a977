//! The stream between both sides: parts, gathered into batches.

use std::io::{self, Cursor};

use labctl_wire::CHUNK;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TreeError;

/// A way to the other side. Both calls block.
pub trait Pipe {
    /// Sends a batch of at most [`CHUNK`] bytes.
    fn send(&mut self, batch: Vec<u8>) -> io::Result<()>;

    /// The next batch; an error if there will be none.
    fn receive(&mut self) -> io::Result<Vec<u8>>;
}

/// Largest piece of a file in one part, so that a batch holds it with its frame.
pub const PIECE: usize = CHUNK - 64;

/// A conversation over a pipe.
pub struct Talk<'a> {
    pipe: &'a mut dyn Pipe,
    out: Vec<u8>,
    heard: Cursor<Vec<u8>>,
}

impl<'a> Talk<'a> {
    pub fn new(pipe: &'a mut dyn Pipe) -> Self {
        Self { pipe, out: Vec::with_capacity(CHUNK), heard: Cursor::default() }
    }

    /// Says a part; it is sent together with those around it.
    pub fn say<T: Serialize>(&mut self, part: &T) -> Result<(), TreeError> {
        let before = self.out.len();
        part.serialize(&mut rmp_serde::Serializer::new(&mut self.out)).map_err(|why| TreeError::Invalid(why.to_string()))?;
        if self.out.len() > CHUNK {
            let last = self.out.split_off(before);
            self.flush()?;
            self.out = last;
        }
        Ok(())
    }

    /// Sends what was said.
    pub fn flush(&mut self) -> Result<(), TreeError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK));
        self.pipe.send(batch).map_err(TreeError::Ended)
    }

    /// The other side's next part.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T, TreeError> {
        while self.heard.position() as usize >= self.heard.get_ref().len() {
            self.flush()?;
            self.heard = Cursor::new(self.pipe.receive().map_err(TreeError::Ended)?);
        }
        T::deserialize(&mut rmp_serde::Deserializer::new(&mut self.heard)).map_err(|why| TreeError::Invalid(why.to_string()))
    }
}
