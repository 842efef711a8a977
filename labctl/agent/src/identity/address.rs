//! Replaces the address of a NIC in use, by rtnetlink(7). The ioctls of netdevice(7) see only a NIC's first address: if services have
//! added others, they would change the wrong one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};

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

/// Replaces the NIC's address `before` (address and prefix length) by `now`; its other addresses stay. It is not an error if `before` is
/// already gone.
pub fn replace(nic: &str, before: (Ipv4Addr, u8), now: (Ipv4Addr, u8)) -> io::Result<()> {
    let index = fs::read_to_string(format!("/sys/class/net/{nic}/ifindex"))?;
    let index: u32 = index.trim().parse().map_err(io::Error::other)?;
    let mut kernel = connect()?;
    match ask(&mut kernel, &message(RTM_DELADDR, 0, index, before)) {
        Err(why) if why.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
        other => other.map_err(|why| io::Error::new(why.kind(), format!("{nic}: remove {}: {why}", before.0)))?,
    }
    ask(&mut kernel, &message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, now))
        .map_err(|why| io::Error::new(why.kind(), format!("{nic}: add {}: {why}", now.0)))
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
    let mut body = vec![libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    for (attribute, value) in [(IFA_LOCAL, address), (IFA_ADDRESS, address), (IFA_BROADCAST, broadcast)] {
        body.extend(8u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value.octets());
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
    fn the_kernel_says_what_is_wrong() {
        // No such NIC: refused for any user, and nothing changes.
        let mut kernel = connect().expect("a socket");
        let refused = ask(&mut kernel, &message(RTM_DELADDR, 0, 0x7fff_fff0, (Ipv4Addr::new(192, 0, 2, 1), 24)));
        assert!(refused.expect_err("no such NIC").raw_os_error().is_some());
    }
}
