//! Modules about files and folders, and how files are written: atomically, with owner and mode, with a difference to show.

pub(crate) mod archive_read;
pub(crate) mod artifact;
pub(crate) mod atomic_write;
pub(crate) mod blockinfile;
pub(crate) mod content;
pub(crate) mod copy;
pub(crate) mod copy_tree;
pub(crate) mod digest;
pub(crate) mod edit;
pub(crate) mod extended;
pub(crate) mod file;
pub(crate) mod file_flags;
pub(crate) mod find;
pub(crate) mod find_glob;
pub(crate) mod ini_file;
pub(crate) mod lineinfile;
pub(crate) mod mode;
pub(crate) mod ownership;
pub(crate) mod replace;
pub(crate) mod stat;
pub(crate) mod tempfile;
pub(crate) mod timestamps;
pub(crate) mod unarchive;
