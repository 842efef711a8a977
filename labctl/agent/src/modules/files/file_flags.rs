//! Attributes of a file as chattr(1) knows them.

use std::fs::File;
use std::path::Path;

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
    let flags = File::open(path).ok().and_then(|file| ioctl_getflags(&file).ok());
    let bits = flags.unwrap_or(IFlags::empty()).bits();
    let set = LETTERS.iter().filter(|(_, bit, _)| bits & bit != 0);
    facts.insert("attr_flags".into(), set.clone().map(|(c, _, _)| *c).collect::<String>().into());
    let names: Vec<Value> = set.map(|(_, _, name)| (*name).into()).collect();
    facts.insert("attributes".into(), names.into());
}
