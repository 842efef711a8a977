use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::stack::Stack;

/// A TCP connection of a guest.
pub struct GuestStream {
    pub stack: Arc<Stack>,
    pub handle: SocketHandle,
}

impl GuestStream {
    /// Waits until the connection is established; an error means that it was refused.
    pub async fn established(&self) -> io::Result<()> {
        self.wait(|socket| match socket.state() {
            tcp::State::Closed => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived => None,
            _ => Some(Ok(())),
        })
        .await
    }

    /// Sends all of `bytes`.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self
                .wait(|socket| match socket.send_slice(bytes) {
                    Ok(0) => None,
                    Ok(count) => Some(Ok(count)),
                    Err(_) => Some(Err(io::ErrorKind::BrokenPipe.into())),
                })
                .await?;
            bytes = &bytes[count..];
            self.stack.poke.notify_one();
        }
        Ok(())
    }

    /// Receives; 0 means end of stream.
    pub async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        let count = self
            .wait(|socket| match socket.recv_slice(room) {
                Err(tcp::RecvError::InvalidState) if matches!(socket.state(), tcp::State::Listen | tcp::State::SynReceived) => None,
                Ok(0) => None,
                Ok(count) => Some(Ok(count)),
                Err(tcp::RecvError::Finished) => Some(Ok(0)),
                Err(tcp::RecvError::InvalidState) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            })
            .await?;
        // The window has opened.
        self.stack.poke.notify_one();
        Ok(count)
    }

    /// Receives until the end of the stream.
    pub async fn read_to_end(&self) -> io::Result<Vec<u8>> {
        let (mut all, mut room) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let count = self.read(&mut room).await?;
            if count == 0 {
                return Ok(all);
            }
            all.extend_from_slice(&room[..count]);
        }
    }

    /// Receives exactly `count` bytes.
    pub async fn read_exact(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut all = vec![0; count];
        let mut done = 0;
        while done < count {
            match self.read(&mut all[done..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(all)
    }

    /// Closes the sending side.
    pub fn close(&self) {
        self.with(|socket| socket.close());
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.with(|socket| socket.abort());
    }

    /// The socket's state.
    pub fn state(&self) -> tcp::State {
        self.with(|socket| socket.state())
    }

    fn with<T>(&self, act: impl FnOnce(&mut tcp::Socket<'static>) -> T) -> T {
        let result = act(self.stack.inner.lock().unwrap().sockets.get_mut(self.handle));
        self.stack.poke.notify_one();
        result
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut tcp::Socket<'static>) -> Option<io::Result<T>>) -> io::Result<T> {
        poll_fn(|cx| {
            let mut inner = self.stack.inner.lock().unwrap();
            let socket = inner.sockets.get_mut::<tcp::Socket>(self.handle);
            if let Some(result) = look(socket) {
                return Poll::Ready(result);
            }
            socket.register_recv_waker(cx.waker());
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
        .await
    }
}
