//! What a guest does before it is saved as a template, so that its forks have little to do.

use std::fs;
use std::io;
use std::path::Path;

use super::{hidden, network, services};

/// Hides the boot id, brings the NIC up without any address, and stops the journal if that harms nobody.
pub fn prepare() -> io::Result<()> {
    hidden::hide()?;
    network::bring_up_bare()?;
    if let Some(kept) = super::kept(Path::new("/")) {
        services::stop_journal(&kept.machine_id);
    }
    // What the forks would otherwise write out once each.
    rustix::fs::sync();
    Ok(())
}

/// Lets IPv6 have the NIC, or keeps it away: a link-local address is made of the Ethernet address, which a template must not have.
pub(super) fn allow_ipv6(nic: &str, allowed: bool) -> io::Result<()> {
    let switch = format!("/proc/sys/net/ipv6/conf/{nic}/disable_ipv6");
    let wanted = if allowed { "0" } else { "1" };
    match fs::read_to_string(&switch) {
        Ok(now) if now.trim() == wanted => Ok(()),
        Ok(_) => fs::write(&switch, wanted),
        // A kernel without IPv6.
        Err(_) => Ok(()),
    }
}
