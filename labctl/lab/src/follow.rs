//! Follows what is appended to a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::Failure;

/// Passes on everything after the first `seen` bytes of the file, forever. If the file gets shorter, starts again at its beginning.
pub async fn added(path: &Path, seen: u64, each: &mut (dyn FnMut(&[u8]) + Send)) -> Result<(), Failure> {
    let failed = || Failure::io(path.display());
    let mut changes = Changes::watch(path).map_err(failed())?;
    let mut file = File::open(path).map_err(failed())?;
    let mut seen = seen;
    loop {
        if file.metadata().map_err(failed())?.len() < seen {
            seen = 0;
        }
        file.seek(SeekFrom::Start(seen)).map_err(failed())?;
        let mut buffer = Vec::new();
        file.read_to_end(&mut buffer).map_err(failed())?;
        if !buffer.is_empty() {
            seen += buffer.len() as u64;
            each(&buffer);
        }
        changes.next().await.map_err(failed())?;
    }
}

#[cfg(target_os = "linux")]
pub use linux::Changes;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::inotify;
    use tokio::io::unix::AsyncFd;

    /// Changes of a file's content (inotify(7)).
    pub struct Changes(AsyncFd<OwnedFd>);

    impl Changes {
        /// Watches the file at `path`.
        pub fn watch(path: &Path) -> io::Result<Self> {
            let watcher = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(&watcher, path, inotify::WatchFlags::MODIFY)?;
            // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
            let watcher = unsafe { AsyncFd::register_with_interest(watcher, tokio::io::Interest::READABLE) }?;
            Ok(Self(watcher))
        }

        /// Returns when the file has changed since the last call.
        pub async fn next(&mut self) -> io::Result<()> {
            // Room for many events; their content is not needed.
            let mut events = [0; 4096];
            loop {
                let mut ready = self.0.readable().await?;
                match rustix::io::read(ready.get_inner(), &mut events) {
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    read => return read.map(drop).map_err(Into::into),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::Changes;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    /// Without inotify, the file is checked twice a second.
    pub struct Changes;

    impl Changes {
        pub fn watch(_path: &Path) -> io::Result<Self> {
            Ok(Self)
        }

        pub async fn next(&mut self) -> io::Result<()> {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn additions_and_a_new_beginning_are_seen() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\n").unwrap();
        let path = file.path().to_owned();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let following = tokio::spawn(async move { added(&path, 4, &mut |bytes| drop(tell.send(bytes.to_vec()))).await });
        file.write_all(b"new\n").unwrap();
        assert_eq!(told.recv().await.unwrap(), b"new\n");
        file.as_file().set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(told.recv().await.unwrap(), b"x");
        following.abort();
    }
}
