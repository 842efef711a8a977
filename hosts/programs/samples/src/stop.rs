//! SIGTERM and SIGINT as an ordinary call in an ordinary thread.
//!
//! The standard library has no signals. A handler may call only async-signal-safe functions (signal-safety(7)), so it
//! writes one byte to a socket whose other end a thread reads.

use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
/// `SIG_ERR` of signal(2).
const SIG_ERR: usize = usize::MAX;

/// The socket's end that the handler writes to; -1 before [`on_signal`].
static WRITER: AtomicI32 = AtomicI32::new(-1);

unsafe extern "C" {
    fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
    fn write(fd: i32, bytes: *const u8, count: usize) -> isize;
}

extern "C" fn wake(signal: i32) {
    // Signal numbers are below 65 on Linux.
    let byte = signal as u8;
    // SAFETY: write(2) is async-signal-safe, the byte outlives the call, and the descriptor is never closed.
    unsafe { write(WRITER.load(Ordering::Relaxed), &raw const byte, 1) };
}

/// Calls `stop` with the signal's number at the first SIGTERM or SIGINT.
///
/// # Errors
/// If the socket pair, the handler or the thread cannot be made.
pub fn on_signal(stop: impl FnOnce(u8) + Send + 'static) -> io::Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    // A handler must never wait.
    writer.set_nonblocking(true)?;
    WRITER.store(writer.into_raw_fd(), Ordering::Relaxed);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut byte = [0];
        if reader.read_exact(&mut byte).is_ok() {
            stop(byte[0]);
        }
    })?;
    for number in [SIGTERM, SIGINT] {
        // SAFETY: `wake` has the signature that signal(2) wants and does only what a handler may.
        if unsafe { signal(number, wake) } == SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
