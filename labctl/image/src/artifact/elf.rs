//! Checks that a program is self-contained.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Fails unless the file is a 64-bit ELF program that does not request a dynamic loader (elf(5), PT_INTERP). Only such
/// a program runs in every guest, whichever C library the guest has.
pub(super) fn require_static(path: &Path) -> Result<(), String> {
    const PT_INTERP: u32 = 3;
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = File::open(path).map_err(cannot)?;
    let mut head = [0; 64];
    file.read_exact(&mut head).map_err(cannot)?;
    if head[..6] != *b"\x7fELF\x02\x01" {
        return Err(format!("{} is not a program for this kind of machine", path.display()));
    }
    let short = |bytes: &[u8], at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let offset = u64::from_le_bytes([head[32], head[33], head[34], head[35], head[36], head[37], head[38], head[39]]);
    let (size, count) = (short(&head, 54), short(&head, 56));
    for n in 0..count {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(offset.saturating_add(n * size))).map_err(cannot)?;
        file.read_exact(&mut kind).map_err(cannot)?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Err(format!("{} is linked dynamically: it would depend on the guest's C library", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_system_is_dynamic_and_a_text_is_no_program() {
        let this = std::env::current_exe().unwrap();
        assert!(require_static(&this).unwrap_err().contains("dynamically"));
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "#".repeat(100)).unwrap();
        assert!(require_static(&text).unwrap_err().contains("not a program"));
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 1; // PT_LOAD
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(require_static(&path), Ok(()));
        bytes[64] = 3;
        std::fs::write(&path, &bytes).unwrap();
        assert!(require_static(&path).is_err());
    }
}
