//! Ids that are fixed by the kernel or the firmware: forks would share those of their template. So a template hides each behind a file,
//! as containers do with the boot id, and each fork writes its own id into that file.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The kernel's boot id (random(4)), generated once.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The machine's UUID, as the kernel read it from the firmware's tables (SMBIOS) at boot.
const MACHINE_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// The file that hides an id; in /run, so that the next boot shows the true one again.
fn cover(id: &str) -> String {
    format!("/run/labctl/{}", id.rsplit('/').next().unwrap_or(id))
}

/// Hides the ids behind files with the same content.
pub fn hide() -> io::Result<()> {
    for id in [BOOT_ID, MACHINE_UUID] {
        let cover = cover(id);
        // Not every machine has firmware with such tables.
        if Path::new(&cover).exists() || !Path::new(id).exists() {
            continue;
        }
        fs::write(&cover, fs::read(id)?)?;
        fs::set_permissions(&cover, Permissions::from_mode(fs::metadata(id)?.permissions().mode() & 0o777))?;
        rustix::mount::mount_bind(&cover, id)?;
    }
    Ok(())
}

/// Writes new ids if they are hidden: a boot id made of `entropy`, and the machine's `uuid`.
pub fn renew(entropy: &[u8], uuid: &str) -> io::Result<()> {
    if let Some(tail) = entropy.last_chunk::<16>() {
        write(BOOT_ID, &random_uuid(*tail))?;
    }
    if !uuid.is_empty() {
        write(MACHINE_UUID, uuid)?;
    }
    Ok(())
}

fn write(id: &str, value: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).open(cover(id)) {
        Ok(mut file) => file.write_all(format!("{value}\n").as_bytes()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// A random UUID (RFC 9562: version 4, variant 10).
fn random_uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_has_version_and_variant() {
        assert_eq!(super::random_uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
