//! Published ports: a listener on a host address for a port of a guest.

mod datagrams;
mod error;

use std::fmt;
use std::net::SocketAddrV4;

use labctl_spec::lab::Protocol;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc::WeakSender;
use tokio::task::JoinHandle;

use crate::command::Command;
use crate::dial::DIAL_TIMEOUT;

pub use error::PublishError;

/// How long to wait before receiving again after an error. Most likely the process is out of file descriptors or memory: some become free
/// when connections end, but there is no notification of that.
const AFTER_ERROR: std::time::Duration = std::time::Duration::from_millis(100);

/// A port on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address and port.
    pub address: SocketAddrV4,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.protocol.suffix())
    }
}

/// Listens, and passes what arrives to the guest at `to`, until the switch stops or the task is aborted.
pub(crate) async fn start(listen: Listen, to: SocketAddrV4, commands: WeakSender<Command>) -> Result<JoinHandle<()>, PublishError> {
    let failed = |source| PublishError::of(listen, source);
    Ok(match listen.protocol {
        Protocol::Tcp => tokio::spawn(serve(TcpListener::bind(listen.address).await.map_err(failed)?, to, commands)),
        Protocol::Udp => tokio::spawn(datagrams::serve(UdpSocket::bind(listen.address).await.map_err(failed)?, to, commands)),
    })
}

async fn serve(listener: TcpListener, to: SocketAddrV4, commands: WeakSender<Command>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%to, %error, "cannot accept a connection to a published port");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        // Fails only on a socket that is already broken.
        let _ = stream.set_nodelay(true);
        let Some(commands) = commands.upgrade() else { return };
        let deadline = tokio::time::Instant::now() + DIAL_TIMEOUT;
        if commands.send(Command::Join { to, stream, deadline }).await.is_err() {
            return;
        }
    }
}
