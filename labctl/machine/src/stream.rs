//! Shrinks saved memory: pages that a template already has are left out of QEMU's migration stream.
//!
//! The stream (QEMU's migration/savevm.c and migration/ram.c, big-endian, the same since QEMU 2.9) starts with memory
//! sections, and commands between them: QEMU 10.0 sends one before the last section.
//!
//! ```text
//! "QEVM" version │ 7 length name │ { 1 │ 2 │ 3 } id [header] records ... 0x7e id │ 8 command length data │ ... │ devices to the end
//! ```
//!
//! A memory record is an offset in its block with flags, followed by a page or by the byte that fills it. Loading the
//! stream into memory that is mapped from the template supplies the omitted pages. A page that was written once is also
//! written every later time, because it may have changed and changed back. Anything not understood is copied unchanged,
//! which is only larger, and refused where it may refer to what was left out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Size of a memory page in bytes (TARGET_PAGE_SIZE of x86 and aarch64).
const PAGE: usize = 4096;

const CONFIGURATION: u8 = 7;
const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const COMMAND: u8 = 8;
const FOOTER: u8 = 0x7e;

const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const NORMAL: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const FLAGS: u64 = PAGE as u64 - 1;

/// Length of the longest record in bytes: offset and flags, the block's name, a page.
const LONGEST_RECORD: usize = 8 + 1 + 255 + PAGE;

const ZEROES: [u8; PAGE] = [0; PAGE];

/// Names of the block that is mapped from a template: `-object memory-backend-file,id=ram`.
const NAMED_BLOCK: [&[u8]; 2] = [b"ram", b"/objects/ram"];

/// Names of the machine's memory, mapped or not.
const MEMORY_BLOCKS: [&[u8]; 3] = [b"ram", b"/objects/ram", b"pc.ram"];

/// Totals of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes written.
    pub bytes: u64,
    /// Pages of memory that were left out.
    pub omitted: u64,
}

/// Copies a stream from `from` to `to`, without the pages that `template` (a file as large as the memory) has at the
/// same offset; without a template, omits pages that are all zeroes.
pub fn copy(from: impl Read, to: impl Write, template: Option<&Path>) -> io::Result<Written> {
    let blocks = if template.is_some() { &NAMED_BLOCK[..] } else { &MEMORY_BLOCKS[..] };
    let mut template = template.map(Template::open).transpose()?;
    let mut written: Vec<bool> = Vec::new();
    filter(from, to, |block, place, content| {
        if !blocks.contains(&block) {
            return Ok(true);
        }
        let page = (place / PAGE as u64) as usize;
        if written.len() <= page {
            written.resize(page + 1, false);
        }
        written[page] = written[page] || !known(template.as_mut(), place, content)?;
        Ok(written[page])
    })
}

/// Applies the stream to `memory`, as a loader would.
pub fn load(from: impl Read, memory: &mut [u8]) -> io::Result<()> {
    filter(from, io::sink(), |block, place, content| {
        if MEMORY_BLOCKS.contains(&block) {
            let begin = usize::try_from(place).map_err(io::Error::other)?;
            let page = memory.get_mut(begin..begin + PAGE).ok_or_else(|| io::Error::other("a page lies beyond the end of memory"))?;
            match content {
                [fill] => page.fill(*fill),
                _ => page.copy_from_slice(content),
            }
        }
        Ok(false)
    })
    .map(drop)
}

/// Copies a stream without the pages for which `keep` returns false. `keep` gets the page's block, offset and content:
/// a page, or the byte that fills one.
fn filter(from: impl Read, to: impl Write, keep: impl FnMut(&[u8], u64, &[u8]) -> io::Result<bool>) -> io::Result<Written> {
    let mut copy = Copy { stream: Stream { from, to, bytes: vec![0; BUFFER], unwritten: 0, at: 0, end: 0, count: 0 }, keep };
    let omitted = copy.memory()?;
    copy.stream.finish()?;
    Ok(Written { bytes: copy.stream.count, omitted })
}

/// Read size in bytes: the capacity of a pipe.
const BUFFER: usize = 1 << 20;

/// A stream being copied from a reader to a writer. Forwarded data is written from the buffer it was read into: nodes
/// are stopped meanwhile, and most of what QEMU writes about their memory is left out.
///
/// ```text
/// bytes: │ written │ unwritten: to be forwarded │ at: next to be examined │ end: not read yet │
/// ```
struct Stream<R, W> {
    from: R,
    to: W,
    bytes: Vec<u8>,
    unwritten: usize,
    at: usize,
    end: usize,
    /// Bytes written.
    count: u64,
}

impl<R: Read, W: Write> Stream<R, W> {
    /// The next bytes, which are forwarded unless they are left out.
    fn bytes(&mut self, length: usize) -> io::Result<&[u8]> {
        self.fill(length)?;
        if self.end - self.at < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += length;
        Ok(&self.bytes[self.at - length..self.at])
    }

    /// Reads until at least `length` bytes are available, or the input ends.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        if self.end - self.at >= length {
            return Ok(());
        }
        self.write()?;
        self.bytes.copy_within(self.at..self.end, 0);
        (self.end, self.at, self.unwritten) = (self.end - self.at, 0, 0);
        while self.end < length {
            match self.from.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(()),
                Ok(read) => self.end += read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Writes the examined bytes that are to be forwarded.
    fn write(&mut self) -> io::Result<()> {
        self.insert_at(self.at, &[])
    }

    /// Writes the examined bytes up to offset `place` in the buffer, then `inserted`.
    fn insert_at(&mut self, place: usize, inserted: &[u8]) -> io::Result<()> {
        self.to.write_all(&self.bytes[self.unwritten..place])?;
        self.to.write_all(inserted)?;
        self.count += (place - self.unwritten + inserted.len()) as u64;
        self.unwritten = place;
        Ok(())
    }

    /// Omits the last `length` examined bytes.
    fn leave_out(&mut self, length: usize) -> io::Result<()> {
        self.insert_at(self.at - length, &[])?;
        self.unwritten = self.at;
        Ok(())
    }

    /// Replaces the first `length` of the last `back` examined bytes with `other`.
    fn replace(&mut self, back: usize, length: usize, other: &[u8]) -> io::Result<()> {
        self.insert_at(self.at - back, other)?;
        self.unwritten += length;
        Ok(())
    }

    /// Forwards all the rest.
    fn finish(&mut self) -> io::Result<()> {
        self.at = self.end;
        self.write()?;
        self.count += io::copy(&mut self.from, &mut self.to)?;
        self.to.flush()
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn be32(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes(4)?.try_into().unwrap_or_default()))
    }

    fn be64(&mut self) -> io::Result<u64> {
        Ok(u64::from_be_bytes(self.bytes(8)?.try_into().unwrap_or_default()))
    }

    /// A string prefixed with its length in one byte.
    fn name(&mut self) -> io::Result<Vec<u8>> {
        let length = self.byte()?;
        Ok(self.bytes(length.into())?.to_vec())
    }
}

/// Whether the data read was understood; if not, it is forwarded along with everything that follows.
type Understood = io::Result<bool>;

struct Copy<R, W, K> {
    stream: Stream<R, W>,
    keep: K,
}

/// A template's memory, read in pieces, because pages are requested almost in order.
struct Template {
    file: File,
    piece: Vec<u8>,
    /// Offset of the piece in the file.
    at: Option<u64>,
}

/// Size of a piece of a template in bytes.
const PIECE: u64 = 1 << 20;

impl Template {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, piece: Vec::new(), at: None })
    }

    /// The page at that offset.
    fn page(&mut self, place: u64) -> io::Result<&[u8]> {
        let at = place - place % PIECE;
        if self.at != Some(at) {
            self.fill(at)?;
        }
        if self.piece.is_empty() {
            return Ok(&ZEROES);
        }
        let begin = (place - at) as usize;
        self.piece.get(begin..begin + PAGE).ok_or_else(|| io::Error::other("the template is smaller than the memory"))
    }

    /// Loads the piece at that offset: empty if it is all hole, as much of a template's memory is.
    fn fill(&mut self, at: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len().saturating_sub(at).min(PIECE);
        self.piece.clear();
        let hole = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data >= at + length,
            // NXIO: no more data after this. On any other error, read the piece.
            Err(why) => why == rustix::io::Errno::NXIO && length == PIECE,
        };
        if !hole {
            self.piece.resize(length as usize, 0);
            self.file.read_exact_at(&mut self.piece, at)?;
        }
        self.at = Some(at);
        Ok(())
    }
}

/// State of the block that records refer to.
struct Memory {
    /// Block of the last record read, and of the last one written.
    read: Vec<u8>,
    wrote: Option<Vec<u8>>,
    omitted: u64,
}

impl Memory {
    /// The number of pages left out, if the rest of the stream can be forwarded: its records may belong to the block of the last one read.
    fn before_the_unknown(&self) -> io::Result<u64> {
        match self.read.is_empty() || self.wrote.as_ref() == Some(&self.read) {
            true => Ok(self.omitted),
            false => Err(io::Error::other("this QEMU writes a machine's memory in a way that labctl does not know")),
        }
    }
}

impl<R: Read, W: Write, K: FnMut(&[u8], u64, &[u8]) -> io::Result<bool>> Copy<R, W, K> {
    /// Copies the memory sections; returns the number of pages left out.
    fn memory(&mut self) -> io::Result<u64> {
        let mut memory = Memory { read: Vec::new(), wrote: None, omitted: 0 };
        if !self.head()? {
            return Ok(0);
        }
        let mut section = None;
        loop {
            let kind = self.stream.byte()?;
            if kind == COMMAND {
                self.stream.bytes(2)?;
                let length = u16::from_be_bytes(self.stream.bytes(2)?.try_into().unwrap_or_default());
                self.stream.bytes(length.into())?;
                continue;
            }
            let id = match kind {
                SECTION_START | SECTION_PART | SECTION_END => self.stream.be32()?,
                _ => return memory.before_the_unknown(),
            };
            let understood = match kind {
                SECTION_START => {
                    let name = self.stream.name()?;
                    let (_instance, version) = (self.stream.be32()?, self.stream.be32()?);
                    section = Some(id);
                    name == b"ram" && version == 4 && self.blocks()?
                }
                _ => section == Some(id) && self.records(&mut memory)?,
            };
            if !understood || self.stream.byte()? != FOOTER || self.stream.be32()? != id {
                return memory.before_the_unknown();
            }
            if kind == SECTION_END {
                return Ok(memory.omitted);
            }
        }
    }

    fn head(&mut self) -> Understood {
        if self.stream.bytes(4)? != b"QEVM" || self.stream.be32()? != 3 || self.stream.byte()? != CONFIGURATION {
            return Ok(false);
        }
        let length = self.stream.be32()?;
        if length > 256 {
            return Ok(false);
        }
        self.stream.bytes(length as usize)?;
        Ok(true)
    }

    /// The table of blocks.
    fn blocks(&mut self) -> Understood {
        let total = self.stream.be64()?;
        if total & FLAGS != MEM_SIZE {
            return Ok(false);
        }
        let mut left = total & !FLAGS;
        while left > 0 {
            self.stream.name()?;
            let length = self.stream.be64()?;
            let Some(rest) = left.checked_sub(length) else { return Ok(false) };
            left = rest;
        }
        Ok(self.stream.be64()? == EOS)
    }

    /// Records up to the end of the section.
    fn records(&mut self, memory: &mut Memory) -> Understood {
        loop {
            // All at once, because forwarded data can no longer be left out.
            self.stream.fill(LONGEST_RECORD)?;
            let word = self.stream.be64()?;
            let (place, flags) = (word & !FLAGS, word & FLAGS);
            if flags == EOS {
                return Ok(true);
            }
            if !matches!(flags & !CONTINUE, ZERO | NORMAL) {
                return Ok(false);
            }
            let mut head = 8;
            let named = flags & CONTINUE == 0;
            if named {
                memory.read = self.stream.name()?;
                head += 1 + memory.read.len();
            }
            let length = if flags & ZERO != 0 { 1 } else { PAGE };
            let content = self.stream.bytes(length)?;
            if !(self.keep)(&memory.read, place, content)? {
                memory.omitted += 1;
                self.stream.leave_out(head + length)?;
                continue;
            }
            let name = &memory.read;
            if named || memory.wrote.as_ref() != Some(name) {
                if !named {
                    // The record with the block's name was left out, so this one gets the name.
                    let head = [&(place | flags & !CONTINUE).to_be_bytes()[..], &[name.len() as u8], name].concat();
                    self.stream.replace(8 + length, 8, &head)?;
                }
                memory.wrote = Some(name.clone());
            }
        }
    }
}

/// Whether the loader already has this page: the template's page, or zeroes without a template. `content` is a page, or
/// the byte that fills one.
fn known(template: Option<&mut Template>, place: u64, content: &[u8]) -> io::Result<bool> {
    let page = match template {
        Some(template) => template.page(place)?,
        None => &ZEROES,
    };
    Ok(match content {
        [0] => page == ZEROES,
        [fill] => page.iter().all(|byte| byte == fill),
        _ => page == content,
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
