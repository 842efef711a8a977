//! The small disk with which cloud-init's NoCloud source configures a vendor's image: an ISO 9660 file system with the
//! volume label `CIDATA` and Rock Ridge names. It is written here rather than by a tool, so that the host needs none.
//! It contains no timestamps, so equal files produce equal disks.
//!
//! Formats: ECMA-119 (ISO 9660), IEEE P1281 (SUSP), IEEE P1282 (Rock Ridge).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes per sector.
const SECTOR: usize = 2048;
/// The label that cloud-init looks for.
const LABEL: &str = "CIDATA";
/// Sector of the root folder: after the system area, two descriptors and two path tables.
const ROOT: u32 = 20;

/// A seed cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A name that the format does not allow.
    #[error("`{0}` cannot be a file name on a seed: use 1 to 100 letters, digits, dots, hyphens and underscores, and each name only once")]
    Name(String),
    /// A file that is too large for the format.
    #[error("`{name}` is too large for a seed: {size} bytes")]
    Size {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: usize,
    },
    /// The disk.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The seed.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Writes a seed with `files` (name, content) in its root folder. Only its owner can read it, because it may contain
/// keys. Every file has mode 555, so that a program on the seed can be run from where it is mounted.
///
/// # Errors
/// A name or size that the format does not allow, or a disk that cannot be written. An existing seed then stays
/// unchanged.
pub fn write_seed(path: &Path, files: &[(&str, &[u8])]) -> Result<(), SeedError> {
    let layout = layout(files)?;
    let failed = |source| SeedError::Io { path: path.to_path_buf(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        let mut out = BufWriter::new(file);
        out.write_all(&layout.head)?;
        for (_, content) in files {
            out.write_all(content)?;
            out.write_all(&vec![0; content.len().next_multiple_of(SECTOR) - content.len()])?;
        }
        let file = out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(failed)
}

/// Everything that comes before the files' content.
struct Layout {
    head: Vec<u8>,
}

fn layout(files: &[(&str, &[u8])]) -> Result<Layout, SeedError> {
    for (n, (name, content)) in files.iter().enumerate() {
        let good = (1..=100).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && ![".", ".."].contains(name);
        if !good || files[..n].iter().any(|(other, _)| other == name) {
            return Err(SeedError::Name(name.to_string()));
        }
        if content.len() >= 1 << 31 {
            return Err(SeedError::Size { name: name.to_string(), size: content.len() });
        }
    }
    // The folder's size does not depend on where the files are.
    let root_size = folder(0, files, 0).len() as u32;
    let first = ROOT + root_size / SECTOR as u32;
    let root = folder(root_size, files, first);
    let sectors = first + files.iter().map(|(_, content)| content.len().div_ceil(SECTOR) as u32).sum::<u32>();

    let mut head = vec![0; 16 * SECTOR];
    head.extend(volume(sectors, root_size));
    let mut end = vec![255];
    end.extend(b"CD001\x01");
    end.resize(SECTOR, 0);
    head.extend(end);
    for big in [false, true] {
        let (extent, parent) = match big {
            false => (ROOT.to_le_bytes(), 1u16.to_le_bytes()),
            true => (ROOT.to_be_bytes(), 1u16.to_be_bytes()),
        };
        let mut table = vec![1, 0];
        table.extend(extent);
        table.extend(parent);
        table.resize(SECTOR, 0);
        head.extend(table);
    }
    head.extend(root);
    Ok(Layout { head })
}

/// A number in both byte orders.
fn both32(n: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// A number in both byte orders.
fn both16(n: u16) -> [u8; 4] {
    let (little, big) = (n.to_le_bytes(), n.to_be_bytes());
    [little[0], little[1], big[0], big[1]]
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn volume(sectors: u32, root_size: u32) -> Vec<u8> {
    let mut bytes = b"\x01CD001\x01\0".to_vec();
    bytes.extend([b' '; 32]);
    bytes.extend(format!("{LABEL:<32}").into_bytes());
    bytes.extend([0; 8]);
    bytes.extend(both32(sectors));
    bytes.extend([0; 32]);
    bytes.extend(both16(1));
    bytes.extend(both16(1));
    bytes.extend(both16(SECTOR as u16));
    // The path table: its size, and its location in both byte orders.
    bytes.extend(both32(10));
    bytes.extend(18u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(19u32.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], ROOT, root_size, true, &[]));
    // Publisher, preparer, application and copyright fields: left blank.
    bytes.extend([b' '; 4 * 128 + 3 * 37]);
    for _ in 0..4 {
        bytes.extend([b'0'; 16]);
        bytes.push(0);
    }
    bytes.extend([1, 0]);
    bytes.resize(SECTOR, 0);
    bytes
}

/// The root folder: itself, its parent (itself), and its files ordered by their plain names.
fn folder(size: u32, files: &[(&str, &[u8])], first: u32) -> Vec<u8> {
    // "SP" starts the system use fields, "ER" names the extension in use.
    let mut dot = b"SP\x07\x01\xbe\xef\0".to_vec();
    dot.extend(mode(0o040_555, 2));
    dot.extend(b"ER\x12\x01\x0a\0\0\x01RRIP_1991A");
    let mut records = vec![record(&[0], ROOT, size, true, &dot), record(&[1], ROOT, size, true, &mode(0o040_555, 2))];
    let mut extent = first;
    for (n, (name, content)) in files.iter().enumerate() {
        let mut system = mode(0o100_555, 1);
        system.extend([b'N', b'M', 5 + name.len() as u8, 1, 0]);
        system.extend(name.as_bytes());
        // The plain name matters only to readers without Rock Ridge. Numbering makes it unique and sorted.
        records.push(record(format!("FILE{n:04}.;1").as_bytes(), extent, content.len() as u32, false, &system));
        extent += content.len().div_ceil(SECTOR) as u32;
    }
    let mut bytes: Vec<u8> = Vec::new();
    for record in records {
        // A record must not cross a sector boundary.
        if bytes.len() % SECTOR + record.len() > SECTOR {
            bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        }
        bytes.extend(record);
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

/// Rock Ridge's "PX": mode, links, owner.
fn mode(mode: u32, links: u32) -> Vec<u8> {
    let mut bytes = b"PX\x24\x01".to_vec();
    for number in [mode, links, 0, 0] {
        bytes.extend(both32(number));
    }
    bytes
}

/// A directory record (ECMA-119, 9.1).
fn record(name: &[u8], extent: u32, size: u32, is_folder: bool, system: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(extent));
    bytes.extend(both32(size));
    // 1 January 1980, midnight, UTC.
    bytes.extend([80, 1, 1, 0, 0, 0, 0]);
    bytes.extend([if is_folder { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(name.len() as u8);
    bytes.extend(name);
    if name.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend(system);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and content of every file, parsed according to the format.
    fn read(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let pvd = 16 * SECTOR;
        assert_eq!(&bytes[pvd..pvd + 7], b"\x01CD001\x01");
        assert_eq!(&bytes[pvd + 40..pvd + 72], format!("{:<32}", "CIDATA").as_bytes());
        assert_eq!(number(pvd + 80) * SECTOR, bytes.len(), "the volume's size is the file's");
        let (start, size) = (number(pvd + 156 + 2) * SECTOR, number(pvd + 156 + 10));
        let mut files = Vec::new();
        let mut at = start;
        while at < start + size {
            let length = bytes[at] as usize;
            if length == 0 {
                at = at.next_multiple_of(SECTOR);
                continue;
            }
            let record = &bytes[at..at + length];
            let name_length = record[32] as usize;
            let mut system = &record[33 + name_length + (1 - name_length % 2)..];
            while system.len() > 4 {
                let (field, rest) = system.split_at(system[2] as usize);
                if field.starts_with(b"NM") {
                    let (from, long) = (number(at + 2) * SECTOR, number(at + 10));
                    files.push((String::from_utf8(field[5..].to_vec()).unwrap(), bytes[from..from + long].to_vec()));
                }
                system = rest;
            }
            at += length;
        }
        files
    }

    #[test]
    fn files_come_back_large_and_empty_ones_included() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        let agent: Vec<u8> = (0..4_000_001u32).map(|n| n as u8).collect();
        let files: [(&str, &[u8]); 4] =
            [("meta-data", b"instance-id: x\n"), ("user-data", b"#cloud-config\n"), ("labctl-agent", &agent), ("empty", b"")];
        write_seed(&path, &files).unwrap();
        let expected: Vec<(String, Vec<u8>)> = files.iter().map(|(name, content)| (name.to_string(), content.to_vec())).collect();
        assert_eq!(read(&fs::read(&path).unwrap()), expected);
        let again = folder.path().join("again");
        write_seed(&again, &files).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap(), "equal files give equal seeds");
    }

    #[test]
    fn more_files_than_one_sector_of_records_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        let names: Vec<String> = (0..60).map(|n| format!("a-rather-long-file-name-{n}.json")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        write_seed(&path, &files).unwrap();
        let read = read(&fs::read(&path).unwrap());
        assert_eq!(read.len(), 60);
        assert!(read.iter().all(|(name, content)| name.as_bytes() == content));
    }

    #[test]
    fn only_the_owner_reads_a_seed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        write_seed(&path, &[("user-data", b"")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn names_that_the_format_cannot_hold_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        for names in [&["a/b"][..], &[""], &[".."], &["x y"], &["a", "a"]] {
            let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b""[..])).collect();
            assert!(matches!(write_seed(&path, &files), Err(SeedError::Name(_))), "{names:?}");
        }
        assert!(!path.exists());
    }
}
