//! The user's keys and pipes: standard input that can be awaited and released at any time.
//!
//! tokio's own standard input reads in a thread that cannot be interrupted, so a program would exit only after one more key press. And a
//! terminal must not be made non-blocking, because the shell that called labctl has it open too.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Blocking;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::UnixStream;

/// Bytes per read.
const CHUNK: usize = 16 << 10;

/// Everything from standard input until its end. Dropping this stops the reading; input not read by then is left to the next reader, except
/// for what is buffered in the socket in between.
pub fn stdin() -> io::Result<UnixStream> {
    forward(io::stdin().as_fd().try_clone_to_owned()?)
}

/// The same for any descriptor.
fn forward(from: std::os::fd::OwnedFd) -> io::Result<UnixStream> {
    let (near, far) = Blocking::pair()?;
    near.set_nonblocking(true)?;
    let near = UnixStream::from_std(near)?;
    let from = std::fs::File::from(from);
    thread::Builder::new().name("input".into()).spawn(move || {
        // Either side only needs to see the end of input, whatever the reason.
        let _ = copy(from, &far);
        let _ = far.shutdown(Shutdown::Write);
    })?;
    Ok(near)
}

/// Copies until the end of input, or until the other side is dropped.
fn copy(mut from: std::fs::File, mut far: &Blocking) -> io::Result<()> {
    let mut buffer = [0; CHUNK];
    loop {
        let mut ready = [PollFd::new(&from, PollFlags::IN), PollFd::new(far, PollFlags::empty())];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let [input, gone] = ready.map(|entry| !entry.revents().is_empty());
        if gone {
            return Ok(());
        }
        if input {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => far.write_all(&buffer[..length])?,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn all_bytes_come_and_then_the_end() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut input = forward(reader).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let copy = sent.clone();
        let thread = thread::spawn(move || std::fs::File::from(writer).write_all(&copy));
        let mut got = Vec::new();
        input.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sent);
        thread.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_not_read() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let kept = reader.try_clone().unwrap();
        let mut input = forward(reader).unwrap();
        let mut writer = std::fs::File::from(writer);
        writer.write_all(b"1").unwrap();
        assert_eq!(input.read_u8().await.unwrap(), b'1');
        drop(input);
        // The thread closes its own copy of the descriptor when it exits; then the pipe's next reader gets all the rest.
        writer.write_all(b"2").unwrap();
        drop(writer);
        let mut rest = Vec::new();
        std::fs::File::from(kept).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"2");
    }
}
