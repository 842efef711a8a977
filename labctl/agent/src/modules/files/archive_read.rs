//! Reading archives: listing them, and unpacking them without leaving the folder.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::files::ownership::FileArgs;
use crate::modules::text::glob_matches;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// The target of a symbolic link; empty for anything else.
    pub(crate) link: String,
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    /// Permission bits; 0 if the archive has none.
    pub(crate) mode: u32,
    pub(crate) folder: bool,
}

impl Entry {
    /// Whether the member is already unpacked in `dest`; owner and mode are not compared if the task sets them itself.
    pub(crate) fn is_at(&self, dest: &Path, files: &FileArgs, keep_newer: bool) -> bool {
        let path = dest.join(&self.path);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            return false;
        };
        if !self.link.is_empty() {
            return fs::read_link(&path).is_ok_and(|target| target == Path::new(&self.link));
        }
        let mode = self.mode == 0 || files.mode.is_some() || meta.mode() & 0o7777 == self.mode;
        if self.folder {
            return meta.is_dir() && mode;
        }
        if keep_newer && meta.mtime() > self.modified {
            return true;
        }
        meta.is_file() && meta.len() == self.size && meta.mtime() == self.modified && mode
    }
}

/// The members to unpack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unpack {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    /// Number of leading folders to strip from each member's path; members with no more than that are skipped.
    pub(crate) strip: usize,
}

impl Unpack {
    /// The path below the destination; none if nothing is left of it. The packed folder itself is `.`.
    fn stripped(&self, bare: &str) -> Option<String> {
        if bare.is_empty() {
            return (self.strip == 0).then(|| ".".to_owned());
        }
        let rest: Vec<&str> = bare.split('/').skip(self.strip).collect();
        (!rest.is_empty()).then(|| rest.join("/"))
    }

    fn wants(&self, path: &str) -> bool {
        let fits = |patterns: &[String]| {
            patterns.iter().map(|pattern| pattern.trim_start_matches("./")).any(|pattern| {
                glob_matches(pattern, path) || path.strip_prefix(pattern.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        (self.include.is_empty() || fits(&self.include)) && !fits(&self.exclude)
    }

    /// All wanted members. A name that leads outside is refused.
    pub(crate) fn list(&self, archive: &Path) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        if is_zip(archive)? {
            let mut zip = open_zip(archive)?;
            for number in 0..zip.len() {
                let file = zip.by_index(number).map_err(|err| broken(archive, &err))?;
                let entry = zip_entry(&file);
                inside(&entry.path)?;
                if self.wants(&entry.path) {
                    entries.push(entry);
                }
            }
            return Ok(entries);
        }
        let mut tar = tar::Archive::new(open_stream(archive)?);
        for member in tar.entries().map_err(|err| broken(archive, &err))? {
            let member = member.map_err(|err| broken(archive, &err))?;
            let kind = member.header().entry_type();
            let path = member.path().map_err(|err| broken(archive, &err))?.to_string_lossy().into_owned();
            inside(&path)?;
            let bare = path.trim_start_matches("./").trim_end_matches('/').to_owned();
            if !self.wants(&bare) || !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
                continue;
            }
            let Some(bare) = self.stripped(&bare) else { continue };
            let link = match member.link_name() {
                Ok(Some(link)) if kind.is_symlink() => link.to_string_lossy().into_owned(),
                _ => String::new(),
            };
            let header = member.header();
            entries.push(Entry {
                path: bare,
                link,
                size: member.size(),
                modified: header.mtime().unwrap_or(0) as i64,
                mode: header.mode().unwrap_or(0) & 0o7777,
                folder: kind.is_dir(),
            });
        }
        // The last member of a name wins, as when unpacking.
        let mut last = std::collections::HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            last.insert(entry.path.clone(), at);
        }
        let mut at = 0;
        entries.retain(|entry| {
            at += 1;
            last.get(&entry.path) == Some(&(at - 1))
        });
        Ok(entries)
    }

    /// Unpacks the wanted members; returns Ansible's name for the handler.
    pub(crate) fn extract(&self, archive: &Path, dest: &Path, keep_newer: bool) -> Result<&'static str, Fault> {
        let newer = |path: &Path, modified: i64| keep_newer && fs::metadata(path).is_ok_and(|meta| meta.mtime() > modified);
        if is_zip(archive)? {
            let mut zip = open_zip(archive)?;
            for number in 0..zip.len() {
                let mut file = zip.by_index(number).map_err(|err| broken(archive, &err))?;
                let entry = zip_entry(&file);
                if self.wants(&entry.path) && !newer(&dest.join(&entry.path), entry.modified) {
                    put_zip(&mut file, &entry, dest).attempt("unpack", dest.join(&entry.path))?;
                }
            }
            return Ok("ZipArchive");
        }
        let mut tar = tar::Archive::new(open_stream(archive)?);
        tar.set_preserve_permissions(true);
        tar.set_preserve_mtime(true);
        tar.set_preserve_ownerships(rustix::process::geteuid().is_root());
        tar.set_overwrite(true);
        // Folders last: writing into a folder changes its time, and its mode may forbid writing.
        let mut folders = Vec::new();
        for member in tar.entries().map_err(|err| broken(archive, &err))? {
            let mut member = member.map_err(|err| broken(archive, &err))?;
            let path = member.path().map_err(|err| broken(archive, &err))?.into_owned();
            let bare = path.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned();
            inside(&bare)?;
            let modified = member.header().mtime().unwrap_or(0) as i64;
            let Some(own) = self.stripped(&bare).filter(|own| self.wants(&bare) && !newer(&dest.join(own), modified)) else { continue };
            if member.header().entry_type().is_dir() {
                let mode = member.header().mode().unwrap_or(0o755) & 0o7777;
                fs::create_dir_all(dest.join(&own)).attempt("create the folder", dest.join(&own))?;
                folders.push((own, mode));
            } else if self.strip > 0 {
                put_stripped(&mut member, &own, dest)?;
            } else if !member.unpack_in(dest).attempt("unpack", dest.join(&bare))? {
                return Err(outside(&bare));
            }
        }
        for (path, mode) in folders.iter().rev() {
            let path = dest.join(path);
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).attempt("change the mode of", &path)?;
        }
        Ok("TgzArchive")
    }
}

/// Unpacks a member under a different name. Like [`tar::Entry::unpack_in`], it never writes through a link.
fn put_stripped<R: Read>(member: &mut tar::Entry<'_, R>, own: &str, dest: &Path) -> Result<(), Fault> {
    let mut above = dest.to_owned();
    for part in Path::new(own).parent().into_iter().flat_map(Path::components) {
        above.push(part);
        if above.is_symlink() {
            return Err(outside(own));
        }
    }
    fs::create_dir_all(&above).attempt("create the folder", &above)?;
    if member.header().entry_type().is_hard_link() {
        return Err(format!("the archive's member '{own}' is a hard link, which --strip-components would break").into());
    }
    member.unpack(dest.join(own)).map(drop).attempt("unpack", dest.join(own))
}

fn broken(archive: &Path, err: &dyn std::fmt::Display) -> Fault {
    format!("Failed to read the archive {}: {err}", archive.display()).into()
}

fn outside(path: &str) -> Fault {
    format!("the archive's member '{path}' leads outside of the destination; nothing of it was unpacked").into()
}

fn inside(path: &str) -> Result<(), Fault> {
    let safe = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if safe { Ok(()) } else { Err(outside(path)) }
}

fn magic(archive: &Path) -> Result<[u8; 6], Fault> {
    let mut head = [0; 6];
    let mut file = File::open(archive).attempt("open", archive)?;
    let mut length = 0;
    while length < head.len() {
        match file.read(&mut head[length..]).attempt("read", archive)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(head)
}

fn is_zip(archive: &Path) -> Result<bool, Fault> {
    let head = magic(archive)?;
    Ok(head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06"))
}

/// The file, decompressed. gzip is built in; rarer formats use external programs.
pub(super) fn open_stream(archive: &Path) -> Result<Box<dyn Read>, Fault> {
    let head = magic(archive)?;
    let file = File::open(archive).attempt("open", archive)?;
    let program = match head {
        _ if head.starts_with(b"\x1f\x8b") => {
            return Ok(Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))));
        }
        _ if head.starts_with(b"\xfd7zXZ") => "xz",
        _ if head.starts_with(b"BZh") => "bzip2",
        _ if head.starts_with(b"\x28\xb5\x2f\xfd") => "zstd",
        _ => return Ok(Box::new(BufReader::new(file))),
    };
    let found = crate::modules::call::spawn::which(program)
        .ok_or_else(|| Fault::from(format!("Unable to find the program '{program}' that {} needs", archive.display())))?;
    let mut child =
        Command::new(found).arg("-dc").stdin(file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().attempt("decompress", archive)?;
    let output = child.stdout.take().ok_or_else(|| Fault::from("the decompressor has no output"))?;
    Ok(Box::new(Decompressor { child, output }))
}

struct Decompressor {
    child: std::process::Child,
    output: std::process::ChildStdout,
}

impl Read for Decompressor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open_zip(archive: &Path) -> Result<zip::ZipArchive<BufReader<File>>, Fault> {
    let file = File::open(archive).attempt("open", archive)?;
    zip::ZipArchive::new(BufReader::new(file)).map_err(|err| broken(archive, &err))
}

fn zip_entry<R: Read>(file: &zip::read::ZipFile<'_, R>) -> Entry {
    let modified = file.last_modified().map_or(0, |time| {
        days(time.year().into(), time.month().into(), time.day().into()) * 86_400
            + i64::from(time.hour()) * 3600
            + i64::from(time.minute()) * 60
            + i64::from(time.second())
    });
    Entry {
        path: file.name().map(|name| name.trim_end_matches('/').to_owned()).unwrap_or_default(),
        link: String::new(),
        size: file.size(),
        modified,
        mode: file.unix_mode().unwrap_or(0) & 0o7777,
        folder: file.is_dir(),
    }
}

/// Days since 1970 of a civil date (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn put_zip<R: Read>(file: &mut zip::read::ZipFile<'_, R>, entry: &Entry, dest: &Path) -> io::Result<()> {
    if file.enclosed_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the member leads outside of the destination"));
    }
    let path = dest.join(&entry.path);
    // A link left by an earlier member or someone else must not lead the file out of the folder.
    let mut above = dest.to_owned();
    for part in Path::new(&entry.path).parent().into_iter().flat_map(Path::components) {
        above.push(part);
        if above.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a link is in the way"));
        }
    }
    if entry.folder {
        fs::create_dir_all(&path)?;
    } else {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let temporary = crate::modules::files::atomic_write::beside(&path);
        let mut output = File::create(&temporary)?;
        io::copy(file, &mut output)?;
        output.set_modified(UNIX_EPOCH + Duration::from_secs(entry.modified.max(0) as u64))?;
        fs::rename(&temporary, &path)?;
    }
    if entry.mode != 0 {
        fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}
