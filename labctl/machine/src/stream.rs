//! Saved memory made smaller: pages that a template has already are left out of QEMU's migration stream.
//!
//! The stream (QEMU's migration/savevm.c and migration/ram.c, big-endian, the same since QEMU 2.9) begins with sections of memory:
//!
//! ```text
//! "QEVM" version │ 7 length name │ { 1 │ 2 │ 3 } id [header] records ... 0x7e id │ ... │ devices to the end
//! ```
//!
//! A record of memory is an offset in its block with flags, and then a page or the byte that fills it. Whoever loads the stream into
//! memory that is mapped from the template has the omitted pages. A page that was written once is written every later time: it may
//! have changed and changed back. What is not understood is copied as it is, which is always right, only larger.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a page of memory (TARGET_PAGE_SIZE of x86 and aarch64).
const PAGE: usize = 4096;

const CONFIGURATION: u8 = 7;
const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const FOOTER: u8 = 0x7e;

const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const NORMAL: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const FLAGS: u64 = PAGE as u64 - 1;

/// Name of the block that is mapped from the template: `-object memory-backend-file,id=ram`.
const TEMPLATE_BLOCK: [&[u8]; 2] = [b"ram", b"/objects/ram"];

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Pages of memory that were left out.
    pub omitted: u64,
}

/// Copies a stream from `from` to `to`, without the pages that `template` (a file as large as the memory) has at the same place;
/// without a template, those that are all zeroes.
pub fn copy(from: impl Read, to: impl Write, template: Option<&Path>) -> io::Result<Written> {
    let template = template.map(File::open).transpose()?;
    let mut copy =
        Copy { from: Tee { inner: BufReader::with_capacity(1 << 20, from), passed: Vec::new() }, to: Counted::new(to), template };
    let omitted = copy.memory()?;
    // What was read and not understood, then all the rest.
    let left = std::mem::take(&mut copy.from.passed);
    copy.to.write_all(&left)?;
    io::copy(&mut copy.from.inner, &mut copy.to)?;
    copy.to.flush()?;
    Ok(Written { bytes: copy.to.count, omitted })
}

/// A reader that remembers what was read since the last decision.
struct Tee<R> {
    inner: R,
    passed: Vec<u8>,
}

impl<R: Read> Tee<R> {
    fn bytes(&mut self, length: usize) -> io::Result<&[u8]> {
        let begin = self.passed.len();
        self.passed.resize(begin + length, 0);
        self.inner.read_exact(&mut self.passed[begin..])?;
        Ok(&self.passed[begin..])
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

    /// A text with its length, one byte, before it.
    fn name(&mut self) -> io::Result<Vec<u8>> {
        let length = self.byte()?;
        Ok(self.bytes(length.into())?.to_vec())
    }
}

struct Counted<W: Write> {
    inner: BufWriter<W>,
    count: u64,
}

impl<W: Write> Counted<W> {
    fn new(inner: W) -> Self {
        Self { inner: BufWriter::with_capacity(1 << 20, inner), count: 0 }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.count += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether what was read is understood; if not, it stands in the tee and is copied.
type Understood = io::Result<bool>;

struct Copy<R, W: Write> {
    from: Tee<R>,
    to: Counted<W>,
    template: Option<File>,
}

/// What is known of the block that records are about.
struct Memory {
    /// Pages that were written, of the block that can be compared.
    written: Vec<bool>,
    /// Block of the last record that was read, and of the last that was written.
    read: Vec<u8>,
    wrote: Option<Vec<u8>>,
    omitted: u64,
}

impl<R: Read, W: Write> Copy<R, W> {
    /// Passes on what was read.
    fn pass(&mut self) -> io::Result<()> {
        self.to.write_all(&self.from.passed)?;
        self.from.passed.clear();
        Ok(())
    }

    /// Copies the sections of memory; gives the number of pages left out.
    fn memory(&mut self) -> io::Result<u64> {
        let mut memory = Memory { written: Vec::new(), read: Vec::new(), wrote: None, omitted: 0 };
        if !self.head()? {
            return Ok(0);
        }
        let mut section = None;
        loop {
            self.pass()?;
            let kind = self.from.byte()?;
            let id = match kind {
                SECTION_START | SECTION_PART | SECTION_END => self.from.be32()?,
                _ => return Ok(memory.omitted),
            };
            let understood = match kind {
                SECTION_START => {
                    let name = self.from.name()?;
                    let (_instance, version) = (self.from.be32()?, self.from.be32()?);
                    section = Some(id);
                    name == b"ram" && version == 4 && self.blocks()?
                }
                _ => section == Some(id) && self.records(&mut memory)?,
            };
            if !understood || self.from.byte()? != FOOTER || self.from.be32()? != id {
                return Ok(memory.omitted);
            }
            if kind == SECTION_END {
                self.pass()?;
                return Ok(memory.omitted);
            }
        }
    }

    fn head(&mut self) -> Understood {
        if self.from.bytes(4)? != b"QEVM" || self.from.be32()? != 3 {
            return Ok(false);
        }
        self.pass()?;
        if self.from.byte()? != CONFIGURATION {
            return Ok(false);
        }
        let length = self.from.be32()?;
        if length > 256 {
            return Ok(false);
        }
        self.from.bytes(length as usize)?;
        Ok(true)
    }

    /// The table of blocks.
    fn blocks(&mut self) -> Understood {
        let total = self.from.be64()?;
        if total & FLAGS != MEM_SIZE {
            return Ok(false);
        }
        let mut left = total & !FLAGS;
        while left > 0 {
            self.from.name()?;
            let length = self.from.be64()?;
            let Some(rest) = left.checked_sub(length) else { return Ok(false) };
            left = rest;
        }
        Ok(self.from.be64()? == EOS)
    }

    /// Records up to the end of the section.
    fn records(&mut self, memory: &mut Memory) -> Understood {
        loop {
            self.pass()?;
            let word = self.from.be64()?;
            let (place, flags) = (word & !FLAGS, word & FLAGS);
            if flags == EOS {
                return Ok(true);
            }
            if !matches!(flags & !CONTINUE, ZERO | NORMAL) {
                return Ok(false);
            }
            if flags & CONTINUE == 0 {
                memory.read = self.from.name()?;
            }
            let content_at = self.from.passed.len();
            let length = if flags & ZERO != 0 { 1 } else { PAGE };
            self.from.bytes(length)?;
            let content = &self.from.passed[content_at..];
            let comparable = TEMPLATE_BLOCK.contains(&&memory.read[..]) && self.template.is_some()
                || self.template.is_none() && TEMPLATE_BLOCK.iter().chain([&&b"pc.ram"[..]]).any(|name| *name == &memory.read[..]);
            if comparable {
                let page = (place / PAGE as u64) as usize;
                if memory.written.len() <= page {
                    memory.written.resize(page + 1, false);
                }
                if !memory.written[page] && known(self.template.as_ref(), place, content)? {
                    memory.omitted += 1;
                    self.from.passed.clear();
                    continue;
                }
                memory.written[page] = true;
            }
            let same = memory.wrote.as_ref() == Some(&memory.read);
            let flags = if same { flags | CONTINUE } else { flags & !CONTINUE };
            self.to.write_all(&(place | flags).to_be_bytes())?;
            if !same {
                self.to.write_all(&[memory.read.len() as u8])?;
                self.to.write_all(&memory.read)?;
                memory.wrote = Some(memory.read.clone());
            }
            self.to.write_all(&self.from.passed[content_at..])?;
            self.from.passed.clear();
        }
    }
}

/// Whether the loader has this page already: the template's page, or zeroes without one. `content` is a page, or the byte that fills one.
fn known(template: Option<&File>, place: u64, content: &[u8]) -> io::Result<bool> {
    let mut page = [0; PAGE];
    if let Some(template) = template {
        template.read_exact_at(&mut page, place)?;
    }
    Ok(match content {
        [fill] => page.iter().all(|byte| byte == fill),
        _ => page == content,
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
