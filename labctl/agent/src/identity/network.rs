//! Address, route and link of the guest's only NIC, set by the ioctls of netdevice(7): five calls, no netlink parsing.

use std::fs;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use labctl_wire::Identity;
use rustix::net::{AddressFamily, SocketType, socket};

/// Ethernet, for `SIOCSIFHWADDR` (ARPHRD_ETHER of <net/if_arp.h>).
const ARPHRD_ETHER: u16 = 1;

/// Brings the NIC up with the identity's address, prefix, MAC address and default route. Does nothing without an address or a NIC.
pub fn configure(identity: &Identity) -> io::Result<()> {
    let (Some(address), Some(name)) = (identity.address, nic()?) else { return Ok(()) };
    let control = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let nic = Nic { control, name };
    if let Some(mac) = octets(&identity.mac).filter(|mac| *mac != nic.mac()) {
        // virtio-net accepts this while it is up (IFF_LIVE_ADDR_CHANGE); other drivers do not.
        if nic.set_mac(mac).is_err() {
            nic.set_up(false)?;
            nic.set_mac(mac)?;
        }
    }
    if !nic.has(address) {
        nic.set_address(libc::SIOCSIFADDR as libc::c_ulong, address)?;
        nic.set_address(libc::SIOCSIFNETMASK as libc::c_ulong, netmask(identity.prefix))?;
    }
    nic.set_up(true)?;
    super::template::allow_ipv6(&nic.name, identity.address6.is_some())?;
    if let Some(address) = identity.address6 {
        super::address::add6(&nic.name, address)?;
    }
    if let Some(gateway) = identity.gateway {
        nic.default_route(gateway)?;
    }
    Ok(())
}

/// Removes a configured NIC from its old network if `now` is in a different one: its address is replaced and the default route removed.
/// [`configure`] then does the rest.
pub fn leave(before: &Identity, now: &Identity) -> io::Result<()> {
    let (Some(old), Some(new), Some(name)) = (before.address, now.address, nic()?) else { return Ok(()) };
    if (old, before.prefix) != (new, now.prefix) {
        super::address::replace(&name, (old, before.prefix), (new, now.prefix))?;
    }
    if let Some(old) = before.address6.filter(|old| now.address6 != Some(*old)) {
        super::address::remove6(&name, old)?;
    }
    if let Some(gateway) = before.gateway.filter(|gateway| now.gateway != Some(*gateway)) {
        let nic = Nic { control: socket(AddressFamily::INET, SocketType::DGRAM, None)?, name };
        // The route disappears with the last address of its network, and someone may have removed it.
        let _ = nic.call("remove the default route", libc::SIOCDELRT as libc::c_ulong, &mut default_by(gateway));
    }
    Ok(())
}

/// The default route by a gateway, in the form that SIOCADDRT and SIOCDELRT take.
fn default_by(gateway: Ipv4Addr) -> libc::rtentry {
    // SAFETY: `rtentry` is plain data; all zeroes is a valid value.
    let mut route: libc::rtentry = unsafe { mem::zeroed() };
    route.rt_dst = inet(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = inet(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = inet(gateway);
    route.rt_flags = (libc::RTF_UP | libc::RTF_GATEWAY) as _;
    route
}

/// Brings the NIC up with no address at all: its buffers are then part of the template, and a fork only has to give it addresses. Its
/// previous routes and neighbours are removed together with its address.
pub fn bring_up_bare() -> io::Result<()> {
    let Some(name) = nic()? else { return Ok(()) };
    super::template::allow_ipv6(&name, false)?;
    let control = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let nic = Nic { control, name };
    nic.set_up(false)?;
    nic.set_address(libc::SIOCSIFADDR as libc::c_ulong, Ipv4Addr::UNSPECIFIED)?;
    nic.set_up(true)
}

/// The first interface with hardware behind it.
fn nic() -> io::Result<Option<String>> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.path().join("device").exists().then(|| entry.file_name().into_string().ok())?
        })
        .collect();
    names.sort();
    Ok(names.into_iter().next())
}

fn octets(mac: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> = mac.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>().ok()?;
    octets.try_into().ok()
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn inet(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes; the kernel reads a `sockaddr_in` behind a `sockaddr` of family AF_INET.
    unsafe { mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) }
}

struct Nic {
    control: OwnedFd,
    name: String,
}

impl Nic {
    fn request(&self) -> libc::ifreq {
        // SAFETY: `ifreq` is plain data; all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        request
    }

    fn call<T>(&self, what: &str, number: libc::c_ulong, argument: &mut T) -> io::Result<()> {
        // SAFETY: the descriptor is an open socket, `argument` is the structure that the request number reads and writes.
        let outcome = unsafe { libc::ioctl(self.control.as_raw_fd(), number as _, std::ptr::from_mut(argument)) };
        if outcome == 0 {
            return Ok(());
        }
        let why = io::Error::last_os_error();
        Err(io::Error::new(why.kind(), format!("{}: {what}: {why}", self.name)))
    }

    fn mac(&self) -> [u8; 6] {
        let text = fs::read_to_string(format!("/sys/class/net/{}/address", self.name)).unwrap_or_default();
        octets(text.trim()).unwrap_or_default()
    }

    fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut request = self.request();
        let mut data = [0; 14];
        for (to, from) in data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: ARPHRD_ETHER, sa_data: data };
        self.call("set the Ethernet address", libc::SIOCSIFHWADDR as libc::c_ulong, &mut request)
    }

    /// Whether this is one of its addresses. If asked for a specific address, the kernel checks all of them (devinet_ioctl).
    fn has(&self, address: Ipv4Addr) -> bool {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = inet(address);
        let found = self.call("read the address", libc::SIOCGIFADDR as libc::c_ulong, &mut request);
        // SAFETY: the kernel has just filled in the address.
        found.is_ok() && unsafe { request.ifr_ifru.ifru_addr }.sa_data == inet(address).sa_data
    }

    fn set_address(&self, number: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = inet(address);
        self.call("set the address", number, &mut request)
    }

    fn set_up(&self, up: bool) -> io::Result<()> {
        let mut request = self.request();
        self.call("read the flags", libc::SIOCGIFFLAGS as libc::c_ulong, &mut request)?;
        // SAFETY: the kernel has just filled in the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let wanted = libc::IFF_UP as i16;
        request.ifr_ifru.ifru_flags = if up { flags | wanted } else { flags & !wanted };
        self.call("set the flags", libc::SIOCSIFFLAGS as libc::c_ulong, &mut request)
    }

    fn default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        match self.call("add the default route", libc::SIOCADDRT as libc::c_ulong, &mut default_by(gateway)) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_octets() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
        assert_eq!(octets("52:54:00:01:02:ff"), Some([0x52, 0x54, 0, 1, 2, 255]));
        assert_eq!(octets("52:54"), None);
    }
}
