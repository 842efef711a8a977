//! Folders as a manifest and a stream. What is here travels inside `Data`, in batches of at most [`crate::CHUNK`] bytes; each batch is a
//! sequence of MessagePack values. The crate `tree` does the work of both sides.
//!
//! ```text
//! sender                                receiver
//!   Item* , Listed          ───────────▶           the manifest, or the part of it that may have changed
//!                           ◀───────────  Want*, Complete
//!   (Bytes | Hole)*, Written | Same | Missing ─▶   for each `Want`, in order
//! ```

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Permission bits that are kept. Ownership is not, so a bit that lends the owner's rights would lend those of another.
pub const MODE_BITS: u32 = 0o777;

/// One thing in a folder. A folder precedes what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Path below the folder that is copied, as bytes; empty for that folder (or file) itself.
    pub path: ByteBuf,
    /// Permission bits; without meaning for a link.
    pub mode: u32,
    /// What it is.
    pub what: What,
}

/// What an item is. Everything else (sockets, FIFOs, devices) is not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Length in bytes.
        size: u64,
        /// Time of the last modification, in nanoseconds since 1970.
        mtime: i64,
    },
    /// A file whose content comes from a pipe: length and time are not known.
    Stream,
    /// A symbolic link.
    Link {
        /// Where it leads, as bytes.
        target: ByteBuf,
    },
}

/// From the sender to the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSender {
    /// The next item of the manifest.
    Item(Item),
    /// In a partial manifest: this path is gone on the sender's side, and everything below it.
    Gone(ByteBuf),
    /// The manifest is complete.
    Listed,
    /// Content of the wanted file.
    Bytes(ByteBuf),
    /// That many zero bytes of the wanted file, which take no space on the sender's disk.
    Hole(u64),
    /// The wanted file is complete.
    Written {
        /// Its time when it was opened, in nanoseconds since 1970. Later changes give it another one.
        mtime: i64,
    },
    /// The wanted file has the content that the receiver has.
    Same {
        /// As in [`FromSender::Written`].
        mtime: i64,
    },
    /// The wanted file no longer exists; it is left as it is.
    Missing,
}

/// From the receiver to the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromReceiver {
    /// The content of a file is wanted.
    Want {
        /// Its position in the manifest, counting items only.
        item: u32,
        /// SHA-256 of what the receiver has, if only the time differs.
        sha256: Option<ByteBuf>,
    },
    /// Nothing else is wanted.
    Complete,
}

/// What a receiver may remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Nothing.
    #[default]
    Never,
    /// What an earlier copy brought and the sender no longer has.
    Brought,
    /// Everything that the sender does not have.
    Foreign,
}

/// How a tree is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// Path; a relative one is below root's home.
    pub path: ByteBuf,
    /// If the path is an existing folder or ends with a slash, the tree gets this name in it.
    pub into: Option<ByteBuf>,
    /// Owner: `USER`, `USER:GROUP` or `:GROUP`, names or numbers. Without it, new files are root's and others keep theirs.
    pub owner: Option<String>,
    /// What may be removed.
    pub removal: Removal,
    /// Whether to keep a record of what was brought.
    pub record: bool,
    /// Whether the manifest has only what may have changed.
    pub partial: bool,
    /// Rules of what is not copied, as in a `.gitignore`; what matches is not removed either.
    pub rules: Vec<String>,
    /// Paths below the tree that belong to other copies and are not removed.
    pub spare: Vec<ByteBuf>,
}

/// What a receiver did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Files and links that were written.
    pub written: u64,
    /// Bytes of content that were received.
    pub bytes: u64,
    /// Folders that were made.
    pub folders: u64,
    /// Items of which only the mode, time or owner was changed.
    pub touched: u64,
    /// Things that were removed.
    pub removed: u64,
    /// What could not be done, each with its path and reason.
    pub faults: Vec<String>,
}

impl Received {
    /// Whether anything is different now. A time that was set counts as nothing.
    pub fn changed(&self) -> bool {
        self.written + self.folders + self.removed > 0
    }
}

/// What a sender left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Special files, each with what it is.
    pub skipped: Vec<String>,
    /// What could not be read, each with its path and reason.
    pub faults: Vec<String>,
}
