//! File attributes as defined by chattr(1).

use std::fs::File;
use std::path::Path;

use std::os::fd::AsRawFd;

use rustix::fs::{IFlags, ioctl_getflags};
use serde_json::{Map, Value};

const LETTERS: [(char, u32, &str); 12] = [
    ('s', 0x1, "secure-deletion"),
    ('u', 0x2, "undelete"),
    ('c', 0x4, "compressed"),
    ('S', 0x8, "synchronous-updates"),
    ('i', 0x10, "immutable"),
    ('a', 0x20, "append-only"),
    ('d', 0x40, "nodump"),
    ('A', 0x80, "noatime"),
    ('I', 0x1000, "indexed"),
    ('j', 0x4000, "journalled-data"),
    ('D', 0x10000, "synchronous-directory-updates"),
    ('e', 0x80000, "extents"),
];

/// Adds `attr_flags` and `attributes` to the facts.
pub(crate) fn describe(path: &Path, facts: &mut Map<String, Value>) {
    let file = File::open(path).ok();
    let flags = file.as_ref().and_then(|file| ioctl_getflags(file).ok());
    let bits = flags.unwrap_or(IFlags::empty()).bits();
    let set = LETTERS.iter().filter(|(_, bit, _)| bits & bit != 0);
    facts.insert("attr_flags".into(), set.clone().map(|(c, _, _)| *c).collect::<String>().into());
    let names: Vec<Value> = set.map(|(_, _, name)| (*name).into()).collect();
    facts.insert("attributes".into(), names.into());
    let version = file.as_ref().and_then(version).map_or(Value::Null, |version| version.to_string().into());
    facts.insert("version".into(), version);
}

/// The inode's generation, as shown by lsattr(1) `-v`; none if the file system has none.
fn version(file: &File) -> Option<u32> {
    // <linux/fs.h>: FS_IOC_GETVERSION is _IOR('v', 1, long); file systems write an int.
    const GET_VERSION: u64 = 0x8008_7601;
    let mut version: libc::c_long = 0;
    // SAFETY: the descriptor is open, and the kernel writes at most a long.
    let code = unsafe { libc::ioctl(file.as_raw_fd(), GET_VERSION as _, &raw mut version) };
    (code == 0).then_some(version as u32)
}
