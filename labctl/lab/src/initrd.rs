//! A node's initrd: the image's kernel modules, the agent as `/init`, and the node's identity. The kernel unpacks concatenated cpio
//! archives in order (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::Path;

use labctl_guest::AGENT_PROGRAM;
use labctl_image::cpio::Cpio;
use labctl_wire::Identity;

use crate::{Failure, Kind, persist};

/// Writes a node's initrd to `path`, readable by the owner only because it contains the SSH host key.
pub fn write(path: &Path, modules: &Path, identity: &Identity) -> Result<(), Failure> {
    let mut archive = fs::read(modules).map_err(Failure::io(modules.display()))?;
    // Archives start at multiples of four bytes.
    archive.resize(archive.len().next_multiple_of(4), 0);
    let identity = serde_json::to_vec(identity).map_err(|why| Failure::new(Kind::Internal, why.to_string()))?;
    let mut own = Cpio::default();
    own.entry("init", 0o100_755, AGENT_PROGRAM);
    own.folder("labctl");
    own.entry("labctl/identity.json", 0o100_600, &identity);
    archive.extend(own.finish());
    persist::write(path, &archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (modules, initrd) = (folder.path().join("modules"), folder.path().join("initrd"));
        fs::write(&modules, b"").unwrap();
        write(&initrd, &modules, &Identity { hostname: "n1".into(), ..Identity::default() }).unwrap();
        let input = fs::File::open(&initrd).unwrap();
        let listed = std::process::Command::new("cpio").arg("-it").stdin(input).output();
        let Ok(listed) = listed else {
            labctl_skip::skip!("cpio", "cpio is not installed");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "init\nlabctl\nlabctl/identity.json\n");
    }
}
