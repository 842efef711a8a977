//! Published ports: a listener on a host address for a port of a guest.

use std::io;
use std::net::SocketAddrV4;

use tokio::net::TcpListener;
use tokio::sync::mpsc::WeakSender;

use crate::command::Command;
use crate::dial::DIAL_TIMEOUT;

/// First port that any user may listen on (Linux ip-sysctl: `ip_unprivileged_port_start`).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another program listens there.
    #[error("cannot listen on {0}: another program is already listening there; see which with `ss -ltnp 'sport = :{port}'`", port = .0.port())]
    InUse(SocketAddrV4),
    /// Ports below 1024 need a privilege.
    #[error(
        "cannot listen on {0}: ports below {FIRST_UNPRIVILEGED} need a privilege; allow it once with \
         `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, or choose another port in the lab file, such as `publish: [\"{other}:{port}\"]`",
        port = .0.port(), other = u32::from(.0.port()) + 8000
    )]
    Privileged(SocketAddrV4),
    /// The host does not have the address.
    #[error("cannot listen on {0}: the host does not have that address; on macOS add it with `sudo ifconfig lo0 alias {ip}`", ip = .0.ip())]
    NoSuchAddress(SocketAddrV4),
    /// Anything else, such as too many open files.
    #[error("cannot listen on {address}")]
    Other {
        /// The address.
        address: SocketAddrV4,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The switch stopped.
    #[error("cannot publish {0}: the switch has stopped")]
    Stopped(SocketAddrV4),
}

/// Listens at `address`.
pub(crate) async fn listen(address: SocketAddrV4) -> Result<TcpListener, PublishError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => PublishError::InUse(address),
        io::ErrorKind::PermissionDenied => PublishError::Privileged(address),
        io::ErrorKind::AddrNotAvailable => PublishError::NoSuchAddress(address),
        _ => PublishError::Other { address, source },
    })
}

/// Passes every connection of `listener` to the guest at `to`, until the switch stops or the task is aborted.
pub(crate) async fn serve(listener: TcpListener, to: SocketAddrV4, commands: WeakSender<Command>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%to, %error, "cannot accept a connection to a published port");
                // Most likely out of file descriptors: they become free when connections end, but there is no
                // notification of that.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_way_out() {
        let address = "127.9.0.1:80".parse().unwrap();
        let text = PublishError::Privileged(address).to_string();
        for part in ["127.9.0.1:80", "sudo sysctl net.ipv4.ip_unprivileged_port_start=80", "publish: [\"8080:80\"]"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(PublishError::InUse(address).to_string().contains("'sport = :80'"));
    }
}
