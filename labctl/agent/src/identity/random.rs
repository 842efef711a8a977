//! The kernel's random generator: a fork of a saved guest shares its siblings' state until it is reseeded.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// random(4): adds entropy and credits it; takes `struct rand_pool_info`.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
/// random(4): reseeds the generator from the input pool at once.
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Largest number of bytes that one call accepts.
const POOL: usize = 512;

/// `struct rand_pool_info` with room for [`POOL`] bytes.
#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; POOL],
}

/// Adds `entropy` (at most the first 512 bytes count), credits all of its bits, and reseeds.
pub fn reseed(entropy: &[u8]) -> io::Result<()> {
    let device = OpenOptions::new().write(true).open("/dev/urandom")?;
    let length = entropy.len().min(POOL);
    let mut info = RandPoolInfo { entropy_count: (length * 8) as libc::c_int, buf_size: length as libc::c_int, buf: [0; POOL] };
    info.buf[..length].copy_from_slice(&entropy[..length]);
    // SAFETY: the descriptor is open; `info` has the layout that the call reads and outlives it.
    let added = unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &raw const info) };
    if added != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open; the call takes no argument.
    let reseeded = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) };
    if reseeded != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
