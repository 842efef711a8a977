//! Adopting an identity: the files that hold it ([`write_files`]), the kernel's random state and clock ([`mend_kernel`]), host name and
//! network ([`apply`]). System calls only, no processes: what a fork costs is what it touches when it wakes.

mod address;
mod authorities;
mod files;
mod hidden;
mod network;
mod outside;
mod random;
pub mod services;
pub mod template;
pub mod user;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use labctl_wire::{Identity, Proxy};

/// Where the guest keeps its identity; readable by root only, because it contains the SSH host key.
const KEPT: &str = "var/lib/labctl/identity.json";

/// The identity that the guest has stored, if any.
pub fn kept(root: &Path) -> Option<Identity> {
    serde_json::from_slice(&fs::read(root.join(KEPT)).ok()?).ok()
}

/// Writes the identity's files below `root`, whose files belong to the identity `before`, if any.
pub fn write_files(root: &Path, before: Option<&Identity>, identity: &Identity) -> io::Result<()> {
    outside::write(root, before, identity)?;
    authorities::write(root, before, identity)?;
    // Last, because it also records that all of them are written.
    files::write(root, identity)
}

/// The current identity and its digest; read once.
static IN_FORCE: Mutex<Option<(Identity, String)>> = Mutex::new(None);

fn in_force() -> (Identity, String) {
    let read = || match kept(Path::new("/")) {
        Some(kept) => {
            let digest = kept.digest();
            (kept, digest)
        }
        None => Default::default(),
    };
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(read).clone()
}

/// [`Identity::digest`] of the stored identity; empty if there is none.
pub fn digest() -> String {
    in_force().1
}

/// Does what needs the running system after a boot.
pub fn settle(kept: &Identity) {
    authorities::settle(kept, kept);
}

/// Variables that every program started by the agent gets: the proxy's.
pub fn environment() -> Vec<(String, String)> {
    let (identity, _) = in_force();
    let all = identity.proxy.iter().flat_map(Proxy::environment);
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Sets the random state and the wall clock. Must come first, before anything asks for a random number or the time.
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

/// Sets the host name and the network of the running kernel.
pub fn apply(identity: &Identity) -> io::Result<()> {
    rustix::system::sethostname(identity.hostname.as_bytes())?;
    network::configure(identity)
}

/// Does all of it, in a running guest.
pub fn take(identity: &Identity) -> io::Result<()> {
    mend_kernel(identity)?;
    let root = Path::new("/");
    let (before, _) = in_force();
    if before.machine_id != identity.machine_id {
        hidden::renew(&identity.entropy, &identity.uuid)?;
    }
    user::write(root, before.user.as_ref(), identity)?;
    write_files(root, Some(&before), identity)?;
    *IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    network::leave(&before, identity)?;
    apply(identity)?;
    services::change_environment(&before, identity);
    authorities::settle(&before, identity);
    services::renew(&before, identity);
    Ok(())
}

/// Called after a pause that the guest did not notice: it was restored from a snapshot.
pub fn wake(entropy: &[u8], clock_ns: u64) -> io::Result<()> {
    mend_kernel(&Identity { entropy: entropy.to_vec(), clock_ns, ..Identity::default() })
}
