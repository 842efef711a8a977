//! Why a port could not be published.

use std::io;

use labctl_spec::lab::Protocol;

use super::Listen;

/// First port that any user may listen on (Linux ip-sysctl: `ip_unprivileged_port_start`).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another program listens there.
    #[error(
        "cannot listen on {0}: another program is already listening there; see which with `ss -{table}np 'sport = :{port}'`",
        table = table(.0), port = .0.address.port()
    )]
    InUse(Listen),
    /// Ports below 1024 need a privilege.
    #[error(
        "cannot listen on {0}: ports below {FIRST_UNPRIVILEGED} need a privilege; allow it once with \
         `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, or choose another port in the lab file, such as \
         `publish: [\"{other}:{port}{suffix}\"]`",
        port = .0.address.port(), other = u32::from(.0.address.port()) + 8000, suffix = .0.protocol.suffix()
    )]
    Privileged(Listen),
    /// The host does not have the address.
    #[error("cannot listen on {0}: the host does not have that address; on macOS add it with `sudo ifconfig lo0 alias {ip}`", ip = .0.address.ip())]
    NoSuchAddress(Listen),
    /// Anything else, such as too many open files.
    #[error("cannot listen on {listen}: {source}")]
    Other {
        /// The port.
        listen: Listen,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The switch stopped.
    #[error("cannot publish {0}: the switch has stopped")]
    Stopped(Listen),
}

impl PublishError {
    /// Why listening failed.
    pub(super) fn of(listen: Listen, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(listen),
            io::ErrorKind::PermissionDenied => Self::Privileged(listen),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(listen),
            _ => Self::Other { listen, source },
        }
    }
}

/// The letters by which ss(8) shows the listeners of a protocol.
fn table(listen: &Listen) -> &'static str {
    match listen.protocol {
        Protocol::Tcp => "lt",
        Protocol::Udp => "lu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_way_out() {
        let at = |protocol| Listen { protocol, address: "127.9.0.1:80".parse().unwrap() };
        let text = PublishError::Privileged(at(Protocol::Tcp)).to_string();
        for part in ["127.9.0.1:80:", "sudo sysctl net.ipv4.ip_unprivileged_port_start=80", "publish: [\"8080:80\"]"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(PublishError::Privileged(at(Protocol::Udp)).to_string().contains("publish: [\"8080:80/udp\"]"));
        assert!(PublishError::InUse(at(Protocol::Tcp)).to_string().contains("`ss -ltnp 'sport = :80'`"));
        let text = PublishError::InUse(at(Protocol::Udp)).to_string();
        let full = PublishError::of(at(Protocol::Tcp), io::Error::from_raw_os_error(24)).to_string();
        assert!(full.contains("127.9.0.1:80: ") && full.contains("open files"), "{full}");
        assert!(text.contains("127.9.0.1:80/udp") && text.contains("`ss -lunp 'sport = :80'`"), "{text}");
    }
}
