//! Extracts one program from an archive. Only the requested member is ever written, and only to the path that labctl
//! chose: no name inside an archive determines a destination.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::error::Failure;
use crate::store_error::at;

/// Size limit of an extracted program.
const LARGEST: u64 = 4 << 30;

/// Writes the member `member` of the archive at `packed` to `to`. The extension of `name`, the archive's own name,
/// determines its type; without a known extension it is the bare program.
pub(super) fn extract(packed: &Path, name: &str, member: &str, to: &Path) -> Result<(), Failure> {
    let file = File::open(packed).map_err(at("open", packed))?;
    if name.ends_with(".zip") {
        from_zip(file, name, member, to)
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        from_tar(file, name, member, to)
    } else {
        std::fs::rename(packed, to).map_err(at("move", packed)).map_err(Failure::from)
    }
}

fn damaged(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Source(format!("{name} cannot be unpacked: {error}"))
}

fn absent(name: &str, member: &str) -> Failure {
    Failure::Source(format!("{name} does not contain {member}"))
}

fn odd(name: &str, member: &str) -> Failure {
    Failure::Source(format!("{member} in {name} is not a plain file"))
}

fn from_zip(file: File, name: &str, member: &str, to: &Path) -> Result<(), Failure> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(name, error))?;
    let Some(index) = archive.index_for_name(member) else {
        return Err(absent(name, member));
    };
    let entry = archive.by_index(index).map_err(|error| damaged(name, error))?;
    if !entry.is_file() || entry.is_symlink() {
        return Err(odd(name, member));
    }
    let size = entry.size();
    write(entry, size, name, to)
}

fn from_tar(file: File, name: &str, member: &str, to: &Path) -> Result<(), Failure> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    for entry in archive.entries().map_err(|error| damaged(name, error))? {
        let entry = entry.map_err(|error| damaged(name, error))?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        if path != member.as_bytes() {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(odd(name, member));
        }
        let size = entry.size();
        return write(entry, size, name, to);
    }
    Err(absent(name, member))
}

/// Writes `size` bytes of a member, and never more than its declared size.
fn write(member: impl Read, size: u64, name: &str, to: &Path) -> Result<(), Failure> {
    if size > LARGEST {
        return Err(damaged(name, format!("its program claims {size} bytes, which is too large for a program")));
    }
    crate::space::require(name, to, size)?;
    let mut out = File::create(to).map_err(at("create", to))?;
    let written = match io::copy(&mut member.take(size + 1), &mut out) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            return Err(at("write", to)(error).into());
        }
        Err(error) => return Err(damaged(name, error)),
    };
    if written != size {
        return Err(damaged(name, format!("its program has {written} bytes instead of {size}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_unpacked_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut add = |name: &str, kind: tar::EntryType, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            // Set by hand, because the library refuses to write such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        };
        add("../evil", tar::EntryType::Regular, b"evil");
        add("link", tar::EntryType::Symlink, b"");
        add("./bin/consul", tar::EntryType::Regular, b"program");
        let packed = folder.path().join("packed");
        std::fs::write(&packed, builder.into_inner().unwrap().finish().unwrap()).unwrap();
        let extract = |member: &str| super::extract(&packed, "a.tar.gz", member, &folder.path().join("to"));
        extract("bin/consul").unwrap();
        assert_eq!(std::fs::read(folder.path().join("to")).unwrap(), b"program");
        assert!(matches!(extract("link"), Err(Failure::Source(why)) if why.contains("not a plain file")));
        assert!(matches!(extract("consul"), Err(Failure::Source(why)) if why.contains("does not contain")));
        std::fs::write(&packed, b"garbage").unwrap();
        assert!(matches!(extract("consul"), Err(Failure::Source(why)) if why.contains("cannot be unpacked")));
    }
}
