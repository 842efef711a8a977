//! Checks whether saved memory matches the machine's memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use crate::stream;

/// Page size in bytes.
const PAGE: usize = 4096;

/// Addresses of a PC at which the machine's memory is not visible, whatever lies behind them: the VGA window and ROMs.
const HIDDEN: Range<usize> = 0xA_0000..0x10_0000;

/// Pages (by number) that differ from `truth` when the saved state in `state` is loaded over `template` (or zeroes).
/// `truth` is the machine's memory from address 0, saved while the machine was stopped
/// ([`crate::driver::Memory::dump`]).
pub fn wrong_pages(state: &Path, template: Option<&Path>, truth: &Path) -> io::Result<Vec<usize>> {
    let size = usize::try_from(fs::metadata(truth)?.len()).map_err(io::Error::other)?;
    let mut memory = match template {
        Some(template) => fs::read(template)?,
        None => vec![0; size],
    };
    stream::load(File::open(state)?, &mut memory)?;
    let mut truth = File::open(truth)?;
    let mut piece = vec![0; PAGE];
    let mut wrong = Vec::new();
    for (number, page) in memory.chunks_exact(PAGE).enumerate() {
        truth.read_exact(&mut piece)?;
        if page != piece && !HIDDEN.contains(&(number * PAGE)) {
            wrong.push(number);
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_differs_is_found_wherever_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        // A stream without pages: the result is what was there before loading.
        let state = file("state", b"QEVM\0\0\0\x03\0");
        let same = file("same", &[7; 3 * PAGE]);
        let mut other = vec![7; 3 * PAGE];
        other[PAGE + 5] = 8;
        let other = file("other", &other);
        let template = file("template", &[7; 3 * PAGE]);
        assert_eq!(wrong_pages(&state, Some(&template), &same).unwrap(), Vec::<usize>::new());
        assert_eq!(wrong_pages(&state, Some(&template), &other).unwrap(), [1]);
        assert_eq!(wrong_pages(&state, None, &same).unwrap(), [0, 1, 2]);
        assert!(wrong_pages(&state, Some(&template), &file("shorter", &[7; PAGE])).is_err());
    }
}
