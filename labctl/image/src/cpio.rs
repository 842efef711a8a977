//! Writes `newc` archives, the format of an initramfs (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

/// An archive being written. Archives can be concatenated: the kernel reads one after the other.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    /// Adds a folder (mode 755).
    pub fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, &[]);
    }

    /// Adds a file (mode 644).
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, 0o100_644, content);
    }

    /// Finishes the archive. Padded to 512 bytes so that another can follow.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    /// Adds an entry with the given type and mode.
    pub fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let size = content.len() as u32;
        let name = path.len() as u32 + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let header = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_format_wants_them() {
        let mut cpio = Cpio::default();
        cpio.folder("modules");
        cpio.file("modules/order", b"a.ko\n");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000041ed");
        assert_eq!(&bytes[110..118], b"modules\0");
        // 118 is padded to 120; the file's header is 110 bytes long, and its size is the seventh field.
        let file = &bytes[120..];
        assert_eq!(&file[6 + 6 * 8..6 + 7 * 8], b"00000005");
        assert_eq!(&file[110..124], b"modules/order\0");
        assert_eq!(&file[124..129], b"a.ko\n");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
