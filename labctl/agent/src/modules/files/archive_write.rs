//! Writing archives, and checking whether an existing one already has the wanted contents.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::spawn::which;
use crate::modules::files::archive_read::open_stream;
use crate::modules::files::atomic_write::{Attributes, beside, replace_with};

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gz,
    Bz2,
    Xz,
    Tar,
    Zip,
}

impl Format {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "bz2" => Self::Bz2,
            "xz" => Self::Xz,
            "tar" => Self::Tar,
            "zip" => Self::Zip,
            _ => Self::Gz,
        }
    }
}

/// A file and its name in the archive.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) name: String,
}

/// What distinguishes members. For tar: name, kind, mode, owner, group, size, time and link target. For zip, and for a single compressed
/// file: name and checksum. Ansible compares the checksums of headers, which cover the same fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents(BTreeSet<String>);

impl Contents {
    /// Whether the archive at `dest` holds exactly this.
    pub(super) fn is_in(&self, dest: &Path, format: Format, archives: bool) -> bool {
        let found = match (archives, format) {
            (false, _) => {
                open_stream(dest).and_then(|mut stream| crc(&mut stream).attempt("read", dest)).map(|sum| [sum.to_string()].into())
            }
            (true, Format::Zip) => zip_members(dest).attempt("read", dest),
            (true, _) => open_stream(dest).and_then(|stream| tar_members(stream).attempt("read", dest)),
        };
        // An archive that cannot be read does not match.
        found.is_ok_and(|found: BTreeSet<String>| found == self.0)
    }
}

fn crc(stream: &mut dyn Read) -> io::Result<u32> {
    let mut crc = flate2::Crc::new();
    let mut block = vec![0; 128 << 10];
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(crc.sum()),
            length => crc.update(&block[..length]),
        }
    }
}

fn zip_members(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut zip = zip::ZipArchive::new(BufReader::new(File::open(path)?)).map_err(io::Error::other)?;
    let mut members = BTreeSet::new();
    for number in 0..zip.len() {
        let member = zip.by_index_raw(number).map_err(io::Error::other)?;
        members.insert(format!("{} {}", member.name().unwrap_or_default(), member.crc32()));
    }
    Ok(members)
}

fn tar_members(stream: impl Read) -> io::Result<BTreeSet<String>> {
    let mut members = BTreeSet::new();
    for member in tar::Archive::new(stream).entries()? {
        let member = member?;
        let (header, name) = (member.header(), member.path()?.to_string_lossy().into_owned());
        let target = member.link_name()?.map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
        let numbers = (header.mode()? & 0o7777, header.uid()?, header.gid()?, member.size(), header.mtime()?);
        members.insert(tar_line(&name, header.entry_type().as_byte(), numbers, &target));
    }
    Ok(members)
}

fn tar_line(name: &str, kind: u8, numbers: (u32, u64, u64, u64, u64), target: &str) -> String {
    format!("{} {kind} {numbers:?} {target}", name.trim_end_matches('/'))
}

/// The header for a file.
fn header(meta: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(meta);
    // Only permission bits: the kind of file is a separate field.
    header.set_mode(meta.mode() & 0o7777);
    if !meta.is_file() {
        header.set_size(0);
    }
    header
}

/// The contents that an archive of the sources would have.
pub(super) fn contents(sources: &[Source], format: Format, archives: bool) -> Result<Contents, Fault> {
    let mut members = BTreeSet::new();
    for Source { path, name } in sources {
        if archives && format != Format::Zip {
            let meta = fs::symlink_metadata(path).attempt("inspect", path)?;
            if meta.file_type().is_socket() {
                continue;
            }
            let header = header(&meta);
            let target = if meta.is_symlink() { fs::read_link(path).attempt("read the link", path)? } else { PathBuf::new() };
            let size = if meta.is_file() { meta.len() } else { 0 };
            let numbers = (meta.mode() & 0o7777, meta.uid().into(), meta.gid().into(), size, meta.mtime().max(0).cast_unsigned());
            members.insert(tar_line(name, header.entry_type().as_byte(), numbers, &target.to_string_lossy()));
            continue;
        }
        let meta = fs::metadata(path).attempt("inspect", path)?;
        let (name, sum) = match meta.is_dir() {
            true => (format!("{name}/"), 0),
            false => (name.clone(), crc(&mut File::open(path).attempt("open", path)?).attempt("read", path)?),
        };
        members.insert(if archives { format!("{name} {sum}") } else { sum.to_string() });
    }
    Ok(Contents(members))
}

/// A stream that is compressed into a file.
enum Packer {
    Plain(BufWriter<File>),
    Gzip(Box<flate2::write::GzEncoder<BufWriter<File>>>),
    /// The program writes to the file itself.
    Program(Child),
}

impl Packer {
    fn new(file: File, format: Format) -> Result<Self, Fault> {
        let program = match format {
            Format::Bz2 => "bzip2",
            Format::Xz => "xz",
            Format::Gz => {
                return Ok(Self::Gzip(Box::new(flate2::write::GzEncoder::new(BufWriter::new(file), flate2::Compression::default()))));
            }
            Format::Tar | Format::Zip => return Ok(Self::Plain(BufWriter::new(file))),
        };
        let found = which(program).ok_or_else(|| Fault::from(format!("the program '{program}' is missing: install its package")))?;
        let child = Command::new(&found).arg("-c").stdin(Stdio::piped()).stdout(file).stderr(Stdio::null()).spawn();
        Ok(Self::Program(child.attempt("run", &found)?))
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Gzip(encoder) => encoder.finish()?.flush(),
            Self::Program(mut child) => {
                drop(child.stdin.take());
                match child.wait()? {
                    status if status.success() => Ok(()),
                    status => Err(io::Error::other(format!("the compressor failed: {status}"))),
                }
            }
        }
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Program(child) => child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Program(child) => child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.flush(),
        }
    }
}

/// Packs the sources into a new file that replaces `dest`.
pub(super) fn write(sources: &[Source], dest: &Path, format: Format, archives: bool, attributes: &Attributes) -> Result<(), Fault> {
    let temporary = Temporary(beside(dest));
    let file = File::create_new(&temporary.0).attempt("create", &temporary.0)?;
    if archives && format == Format::Zip {
        write_zip(sources, file)?;
    } else {
        let mut packer = Packer::new(file, format)?;
        if archives {
            packer = write_tar(sources, packer)?;
        } else {
            for Source { path, .. } in sources {
                let mut from = File::open(path).attempt("open", path)?;
                io::copy(&mut from, &mut packer).attempt("write", dest)?;
            }
        }
        packer.finish().attempt("write", dest)?;
    }
    replace_with(dest, &temporary.0, attributes).attempt("write", dest)
}

/// Removed on drop, unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_tar(sources: &[Source], packer: Packer) -> Result<Packer, Fault> {
    let mut tar = tar::Builder::new(packer);
    for Source { path, name } in sources {
        let meta = fs::symlink_metadata(path).attempt("inspect", path)?;
        let mut header = header(&meta);
        let written = if meta.is_symlink() {
            let target = fs::read_link(path).attempt("read the link", path)?;
            tar.append_link(&mut header, name, target)
        } else if meta.is_file() {
            // A file that grows meanwhile must not spill into the next member.
            let file = File::open(path).attempt("open", path)?;
            tar.append_data(&mut header, name, file.take(meta.len()))
        } else if meta.file_type().is_socket() {
            continue;
        } else {
            tar.append_data(&mut header, name, io::empty())
        };
        written.attempt("archive", path)?;
    }
    tar.into_inner().attempt("finish", Path::new("the archive"))
}

fn write_zip(sources: &[Source], file: File) -> Result<(), Fault> {
    let mut zip = zip::ZipWriter::new(BufWriter::new(file));
    for Source { path, name } in sources {
        let meta = fs::metadata(path).attempt("inspect", path)?;
        let options = zip::write::SimpleFileOptions::default()
            .unix_permissions(meta.mode() & 0o7777)
            .large_file(meta.len() > u64::from(u32::MAX))
            .compression_method(zip::CompressionMethod::Deflated);
        let begun = if meta.is_dir() { zip.add_directory(name.as_str(), options) } else { zip.start_file(name.as_str(), options) };
        begun.map_err(io::Error::other).attempt("archive", path)?;
        if !meta.is_dir() {
            io::copy(&mut File::open(path).attempt("open", path)?, &mut zip).attempt("archive", path)?;
        }
    }
    zip.finish().map_err(io::Error::other).and_then(|mut file| file.flush()).attempt("finish", Path::new("the archive"))
}
