//! Taking on an identity: the files that carry it ([`write_files`]), the kernel's random state and clock
//! ([`mend_kernel`]), host name and network ([`apply`]). System calls only, no processes.

mod files;
mod network;
mod random;

use std::fs;
use std::io;
use std::path::Path;

use labctl_wire::Identity;

pub use files::write_files;

/// Where the guest keeps its identity; readable by root only, for it holds the SSH host key.
const KEPT: &str = "var/lib/labctl/identity.json";

/// The identity that the guest keeps, if any.
pub fn kept(root: &Path) -> Option<Identity> {
    serde_json::from_slice(&fs::read(root.join(KEPT)).ok()?).ok()
}

/// Random state and wall clock: first of all, before anything asks for a random number or the time.
pub fn mend_kernel(identity: &Identity) -> io::Result<()> {
    if !identity.entropy.is_empty() {
        random::reseed(&identity.entropy)?;
    }
    if identity.clock_ns > 0 {
        let now = rustix::time::Timespec {
            tv_sec: i64::try_from(identity.clock_ns / 1_000_000_000).map_err(io::Error::other)?,
            tv_nsec: i64::try_from(identity.clock_ns % 1_000_000_000).map_err(io::Error::other)?,
        };
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, now)?;
    }
    Ok(())
}

/// Host name and network of the running kernel.
pub fn apply(identity: &Identity) -> io::Result<()> {
    rustix::system::sethostname(identity.hostname.as_bytes())?;
    network::configure(identity)
}

/// All of it, in a running guest.
pub fn take(identity: &Identity) -> io::Result<()> {
    mend_kernel(identity)?;
    write_files(Path::new("/"), identity)?;
    apply(identity)
}
