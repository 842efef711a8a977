//! The kernel's boot id: forks would share their template's, for the kernel makes it once. So a template hides it behind a file, as
//! containers do, and each fork writes one of its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The kernel's (random(4)).
pub const KERNEL: &str = "/proc/sys/kernel/random/boot_id";

/// What hides it; in /run, so that the next boot has the kernel's again.
const FILE: &str = "/run/labctl/boot_id";

/// Hides the kernel's boot id behind a file with the same content.
pub fn hide() -> io::Result<()> {
    if Path::new(FILE).exists() {
        return Ok(());
    }
    fs::write(FILE, fs::read(KERNEL)?)?;
    rustix::mount::mount_bind(FILE, KERNEL).map_err(Into::into)
}

/// Writes another one, made of `entropy`, if it is hidden.
pub fn renew(entropy: &[u8]) -> io::Result<()> {
    let Some(tail) = entropy.last_chunk::<16>() else { return Ok(()) };
    match OpenOptions::new().write(true).open(FILE) {
        Ok(mut file) => file.write_all(format!("{}\n", uuid(*tail)).as_bytes()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// A random UUID (RFC 9562: version 4, variant 10).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_has_version_and_variant() {
        assert_eq!(super::uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
