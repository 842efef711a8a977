//! The side that has the tree.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use labctl_wire::tree::{FromReceiver, FromSender, Item, What};
use serde_bytes::ByteBuf;

use crate::faults::Faults;
use crate::pipe::{PIECE, Talk};
use crate::walk::nanoseconds;
use crate::{Manifest, Passed, Pipe, TreeError, digest, passed};

/// A file that was changed this recently may change again without getting another time (the kernel's clock for files ticks every 1 to
/// 10 ms), so its copy gets a time that makes the next copy compare the content.
const FRESH_NS: i64 = 20_000_000;

/// What is sent.
pub struct Source<'a> {
    /// The tree.
    pub manifest: &'a Manifest,
    /// Content of the manifest's [`What::Stream`].
    pub stream: Option<&'a mut dyn Read>,
    /// Is told how far it is, after each piece of content.
    pub progress: &'a mut dyn FnMut(Passed),
}

/// Sends a tree; returns what could not be read. What has vanished meanwhile is not a fault.
pub fn send(source: &mut Source<'_>, pipe: &mut dyn Pipe) -> Result<Vec<String>, TreeError> {
    let mut talk = Talk::new(pipe);
    let Manifest { root, items, gone, .. } = source.manifest;
    for item in items {
        talk.say(&FromSender::Item(item.clone()))?;
    }
    for path in gone {
        talk.say(&FromSender::Gone(path.clone()))?;
    }
    talk.say(&FromSender::Listed)?;
    let mut wanted = Vec::new();
    while let FromReceiver::Want { item, sha256 } = talk.hear()? {
        let item = items.get(item as usize).ok_or_else(|| TreeError::Invalid("an item that is not in the manifest is wanted".into()))?;
        wanted.push((item, sha256));
    }
    let mut faults = Faults::default();
    let mut passed = Passed::none_of(wanted.iter().map(|(item, _)| &item.what));
    let mut progress = |bytes: u64| {
        passed.bytes = passed.bytes.saturating_add(bytes);
        (source.progress)(passed);
    };
    for (item, sha256) in wanted {
        let done = match (&item.what, source.stream.as_deref_mut()) {
            (What::Stream, Some(stream)) => content(&mut talk, stream, &mut progress).map(|read| read.map(|()| now())),
            _ => file(&mut talk, root, item, sha256, &mut progress),
        }?;
        match done {
            Ok(mtime) => talk.say(&FromSender::Written { mtime })?,
            Err(Left::AsItIs(mtime)) => {
                progress(passed::size(&item.what));
                talk.say(&FromSender::Same { mtime })?;
            }
            Err(Left::Gone) => talk.say(&FromSender::Missing)?,
            Err(Left::Unread(why)) => {
                faults.add(&place(root, item), why);
                talk.say(&FromSender::Missing)?;
            }
        }
    }
    talk.flush()?;
    Ok(faults.lines())
}

/// Why no content was sent, or not all of it.
enum Left {
    AsItIs(i64),
    Gone,
    Unread(io::Error),
}

impl From<io::Error> for Left {
    fn from(why: io::Error) -> Self {
        Self::Unread(why)
    }
}

fn place(root: &Path, item: &Item) -> PathBuf {
    if item.path.is_empty() { root.to_owned() } else { root.join(std::ffi::OsStr::from_bytes(&item.path)) }
}

/// Sends a file's content; returns its time.
fn file(
    talk: &mut Talk<'_>,
    root: &Path,
    item: &Item,
    sha256: Option<ByteBuf>,
    progress: &mut dyn FnMut(u64),
) -> Result<Result<i64, Left>, TreeError> {
    let (mut file, mtime) = match open(&place(root, item), item.path.is_empty()) {
        Ok(opened) => opened,
        Err(left) => return Ok(Err(left)),
    };
    if let Some(sha256) = sha256 {
        match digest::sha256(&mut file).and_then(|here| file.rewind().map(|()| here)) {
            Ok(here) if here == *sha256 => return Ok(Err(Left::AsItIs(mtime))),
            Ok(_) => {}
            Err(why) => return Ok(Err(why.into())),
        }
    }
    Ok(sparse(talk, &mut file, progress)?.map(|()| mtime))
}

/// Sends a file's content; its holes as what they are (lseek(2)).
fn sparse(talk: &mut Talk<'_>, file: &mut File, progress: &mut dyn FnMut(u64)) -> Result<Result<(), Left>, TreeError> {
    let mut at = 0;
    loop {
        let (data, end) = match extent(file, at) {
            Ok(extent) => extent,
            Err(why) => return Ok(Err(why.into())),
        };
        if data > at {
            talk.say(&FromSender::Hole(data - at))?;
            progress(data - at);
        }
        if let Err(why) = file.seek(SeekFrom::Start(data)) {
            return Ok(Err(why.into()));
        }
        // The kernel's own files may be longer than they say.
        let Some(end) = end else { return content(talk, file, progress) };
        if let Err(left) = content(talk, &mut Read::take(&mut *file, end - data), progress)? {
            return Ok(Err(left));
        }
        at = match file.stream_position() {
            Ok(position) if position == end => end,
            // It got shorter meanwhile.
            Ok(_) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why.into())),
        };
    }
}

/// Where the next data of a file is, at or after a place, and where it ends; without an end, that is where the file ends.
fn extent(file: &File, at: u64) -> io::Result<(u64, Option<u64>)> {
    use rustix::fs::{SeekFrom as To, seek};
    let length = file.metadata()?.len();
    if at >= length {
        return Ok((at, None));
    }
    match seek(file, To::Data(at)) {
        Ok(data) => {
            let end = seek(file, To::Hole(data)).unwrap_or(length);
            // Data that was cut off meanwhile has no end behind its beginning.
            if end > data { Ok((data, Some(end))) } else { Ok((at, None)) }
        }
        Err(rustix::io::Errno::NXIO) => Ok((length, None)),
        // A file system that knows no holes.
        Err(_) => Ok((at, Some(length))),
    }
}

/// Opens a file without following a link or waiting for a FIFO that has taken its place; returns it with its time.
fn open(path: &Path, follow: bool) -> Result<(File, i64), Left> {
    let flags = if follow { rustix::fs::OFlags::NONBLOCK } else { rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW };
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Err(Left::Gone),
        Err(why) if why.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Err(Left::Gone),
        Err(why) => return Err(why.into()),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Left::Gone);
    }
    let mtime = nanoseconds(&about);
    let fresh = (0..FRESH_NS).contains(&now().saturating_sub(mtime));
    Ok((file, if fresh { mtime - 1 } else { mtime }))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn content(talk: &mut Talk<'_>, source: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> Result<Result<(), Left>, TreeError> {
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(length) => {
                talk.say(&FromSender::Bytes(ByteBuf::from(&piece[..length])))?;
                progress(length as u64);
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Ok(Err(why.into())),
        }
    }
}
