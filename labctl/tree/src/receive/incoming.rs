//! Content of a file that was asked for.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use labctl_wire::tree::{FromSender, What};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, futimens, utimensat};
use serde_bytes::ByteBuf;

use super::compare::Wanted;
use super::temporary::Temporary;
use super::{Work, path_of};
use crate::pipe::Talk;
use crate::{TreeError, passed};

impl Work<'_> {
    /// Takes the next file from the stream: complete and under its name, or not at all.
    pub fn bring(&mut self, talk: &mut Talk<'_>, want: &Wanted, progress: &mut dyn FnMut(u64)) -> Result<(), TreeError> {
        let item = &self.items[want.item as usize];
        let place = self.place(path_of(&item.path));
        let mut writing: Option<(File, Temporary)> = None;
        // After a fault the rest of the file is read and dropped.
        let mut failed = false;
        let mtime = loop {
            let part = match talk.hear()? {
                FromSender::Bytes(bytes) => {
                    self.done.bytes += bytes.len() as u64;
                    progress(bytes.len() as u64);
                    Part::Bytes(bytes)
                }
                FromSender::Hole(length) => {
                    progress(length);
                    Part::Hole(length)
                }
                FromSender::Written { mtime } => break mtime,
                FromSender::Same { mtime } => {
                    progress(passed::size(&item.what));
                    return self.same(&place, item.mode, mtime, want);
                }
                FromSender::Missing => return Ok(()),
                _ => return Err(TreeError::Invalid("a manifest within content".into())),
            };
            if failed {
                continue;
            }
            if writing.is_none() {
                let begun = self.names.file_beside(&place);
                writing = self.faults.take(&place, begun)?;
            }
            let wrote = writing.as_mut().map_or(Ok(()), |(file, _)| part.write(file));
            failed = writing.is_none() || self.faults.take(&place, wrote)?.is_none();
        };
        if writing.is_none() && !failed {
            let begun = self.names.file_beside(&place);
            writing = self.faults.take(&place, begun)?;
        }
        let Some((file, temporary)) = writing.filter(|_| !failed) else { return Ok(()) };
        let owner = self.how.owner.after(want.old.as_ref());
        let done = owner
            .own(&temporary.path)
            .and_then(|()| file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(item.mode)))
            .and_then(|()| if item.what == What::Stream { Ok(()) } else { Ok(futimens(&file, &times(mtime))?) })
            .and_then(|()| temporary.keep(&place));
        self.done.written += u64::from(self.faults.take(&place, done)?.is_some());
        Ok(())
    }

    /// The content is here already.
    fn same(&mut self, place: &Path, mode: u32, mtime: i64, want: &Wanted) -> Result<(), TreeError> {
        let Some(about) = &want.old else { return Err(TreeError::Invalid("a file is said to be here".into())) };
        let set = utimensat(CWD, place, &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
        self.faults.take(place, set)?;
        if self.attributes(place, mode, about)? {
            self.done.touched += 1;
        }
        Ok(())
    }
}

/// A part of a file's content.
enum Part {
    Bytes(ByteBuf),
    Hole(u64),
}

impl Part {
    /// Appends it to a file that is being written.
    fn write(&self, file: &mut File) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => file.write_all(bytes),
            Self::Hole(length) => {
                // The file ends there, until something follows.
                let end = file.stream_position()?.checked_add(*length).ok_or(io::ErrorKind::FileTooLarge)?;
                file.set_len(end)?;
                file.seek(SeekFrom::Start(end)).map(drop)
            }
        }
    }
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) as _ };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}
