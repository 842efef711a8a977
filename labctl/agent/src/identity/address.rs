//! Changes the addresses of a NIC in use, by rtnetlink(7). The ioctls of netdevice(7) see only a NIC's first address: if services have
//! added others, they would change the wrong one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// Message types and flags of <linux/rtnetlink.h> and <linux/netlink.h>.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

/// Attributes of an address (<linux/if_addr.h>).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_NODAD: u8 = 0x02;

/// Length of the prefix of a lab's IPv6 addresses.
const PREFIX6: u8 = 64;

/// Exists if the kernel has IPv6.
const IPV6: &str = "/proc/sys/net/ipv6";

/// Replaces the NIC's address `before` (address and prefix length) by `now`; its other addresses stay. It is not an error if `before` is
/// already gone.
pub fn replace(nic: &str, before: (Ipv4Addr, u8), now: (Ipv4Addr, u8)) -> io::Result<()> {
    let index = index(nic)?;
    let mut kernel = connect()?;
    remove(&mut kernel, nic, before.0.into(), &message(RTM_DELADDR, 0, index, before))?;
    ask(&mut kernel, &message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, now))
        .map_err(|why| io::Error::new(why.kind(), format!("{nic}: add {}: {why}", now.0)))
}

/// Adds an IPv6 address, or refreshes it. It can be used at once: there is no second node with it, so nothing waits for duplicates to
/// answer (RFC 4862, 5.4). Its preferred lifetime is over, which does not restrict it, but lets programs that find both addresses of a
/// node take the IPv4 one (RFC 6724, rule 3): in the lab, services often listen on that alone, and glibc would prefer the other.
pub fn add6(nic: &str, address: Ipv6Addr) -> io::Result<()> {
    if !Path::new(IPV6).exists() {
        // The guest's kernel has no IPv6.
        return Ok(());
    }
    let message = message6(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index(nic)?, address);
    ask(&mut connect()?, &message).map_err(|why| io::Error::new(why.kind(), format!("{nic}: add {address}: {why}")))
}

/// Removes an IPv6 address, if the NIC has it.
pub fn remove6(nic: &str, address: Ipv6Addr) -> io::Result<()> {
    if !Path::new(IPV6).exists() {
        return Ok(());
    }
    remove(&mut connect()?, nic, address.into(), &message6(RTM_DELADDR, 0, index(nic)?, address))
}

fn index(nic: &str) -> io::Result<u32> {
    fs::read_to_string(format!("/sys/class/net/{nic}/ifindex"))?.trim().parse().map_err(io::Error::other)
}

fn remove(kernel: &mut File, nic: &str, address: IpAddr, message: &[u8]) -> io::Result<()> {
    match ask(kernel, message) {
        Err(why) if why.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        other => other.map_err(|why| io::Error::new(why.kind(), format!("{nic}: remove {address}: {why}"))),
    }
}

fn connect() -> io::Result<File> {
    // SAFETY: socket(2) takes three numbers.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and has no other owner.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(socket) }))
}

/// Sends a message and reads the result.
fn ask(kernel: &mut File, message: &[u8]) -> io::Result<()> {
    kernel.write_all(message)?;
    let mut answer = [0; 1024];
    let length = kernel.read(&mut answer)?;
    // A header of 16 bytes, then the negative error number, or 0 for success (netlink(7), NLMSG_ERROR).
    let number = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}

fn message(kind: u16, flags: u16, index: u32, (address, prefix): (Ipv4Addr, u8)) -> Vec<u8> {
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(address) | host);
    let attributes = [(IFA_LOCAL, address), (IFA_ADDRESS, address), (IFA_BROADCAST, broadcast)];
    let attributes = attributes.map(|(attribute, value)| (attribute, value.octets().to_vec()));
    whole(kind, flags, [libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE], index, &attributes)
}

fn message6(kind: u16, flags: u16, index: u32, address: Ipv6Addr) -> Vec<u8> {
    // Preferred for 0 s, valid forever; the kernel sets the other two fields (<linux/if_addr.h>, `ifa_cacheinfo`).
    let lifetimes = [0, u32::MAX, 0, 0].map(u32::to_ne_bytes).concat();
    let octets = address.octets().to_vec();
    let attributes = [(IFA_LOCAL, octets.clone()), (IFA_ADDRESS, octets), (IFA_CACHEINFO, lifetimes)];
    whole(kind, flags, [libc::AF_INET6 as u8, PREFIX6, IFA_F_NODAD, libc::RT_SCOPE_UNIVERSE], index, &attributes)
}

/// A request: the header, an `ifaddrmsg` and its attributes, whose lengths are multiples of four.
fn whole(kind: u16, flags: u16, about: [u8; 4], index: u32, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = about.to_vec();
    body.extend(index.to_ne_bytes());
    for (attribute, value) in attributes {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
    }
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    // Sequence and port stay 0: only one request is outstanding at a time.
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let message = message(RTM_NEWADDR, NLM_F_CREATE, 2, (Ipv4Addr::new(10, 99, 0, 10), 24));
        assert_eq!(message.len(), 16 + 8 + 3 * 8);
        assert_eq!(message[..4], 48u32.to_ne_bytes());
        assert_eq!(message[4..8], [20u16.to_ne_bytes(), 0x405u16.to_ne_bytes()].concat());
        assert_eq!(message[16..24], [&[2, 24, 0, 0][..], &2u32.to_ne_bytes()].concat());
        assert_eq!(message[28..32], [10, 99, 0, 10]);
        assert_eq!(message[44..], [10, 99, 0, 255]);
    }

    #[test]
    fn an_ipv6_address_is_usable_at_once_but_not_preferred() {
        let message = message6(RTM_NEWADDR, NLM_F_CREATE, 2, "fd01::a".parse().expect("an address"));
        assert_eq!(message.len(), 16 + 8 + 3 * 20);
        assert_eq!(message[16..20], [libc::AF_INET6 as u8, 64, IFA_F_NODAD, 0]);
        assert_eq!((message[24..26].to_vec(), message[28], message[43]), (20u16.to_ne_bytes().to_vec(), 0xfd, 0x0a));
        assert_eq!(message[68..76], [[0; 4], [0xff; 4]].concat());
    }

    #[test]
    fn the_kernel_says_what_is_wrong() {
        // No such NIC: refused for any user, and nothing changes.
        let mut kernel = connect().expect("a socket");
        let refused = ask(&mut kernel, &message(RTM_DELADDR, 0, 0x7fff_fff0, (Ipv4Addr::new(192, 0, 2, 1), 24)));
        assert!(refused.expect_err("no such NIC").raw_os_error().is_some());
    }
}
