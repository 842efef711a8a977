//! Why an SSH session did not come about, or broke.

use std::time::Duration;

/// A fault of an SSH session.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A key of the login cannot be read.
    #[error("the {which} cannot be read: {why}")]
    Key {
        /// Which of the keys.
        which: &'static str,
        /// The reason.
        why: String,
    },
    /// The server has another key than the pinned one: it is not the machine that is meant.
    #[error("the SSH server is not the one that is meant: its host key is {found}, wanted is {wanted}")]
    HostKey {
        /// Fingerprint of the server's key.
        found: String,
        /// Fingerprint of the pinned key.
        wanted: String,
    },
    /// No known_hosts file has a key of the server.
    #[error("the host key of {address} is not known; look at it, and keep it: ssh-keyscan -p {port} {address} >> {}", file.display())]
    Unknown {
        /// Where the server is.
        address: String,
        /// Its port.
        port: u16,
        /// The file to put it into.
        file: std::path::PathBuf,
    },
    /// There is no connection.
    #[error("{address} port {port}: {why}")]
    Unreachable {
        /// Where the server should be.
        address: String,
        /// Its port.
        port: u16,
        /// The reason.
        why: String,
    },
    /// ssh_config wants a way that labctl does not know.
    #[error("ssh_config reaches this host by `{0}`, which is not supported: give an address that can be reached directly (ansible_host)")]
    Proxy(String),
    /// None of the keys was accepted.
    #[error("{address} does not let `{user}` in: {trouble}")]
    NotLetIn {
        /// Who wanted in.
        user: String,
        /// Where.
        address: String,
        /// What happened to each key.
        trouble: String,
    },
    /// The agent could not be sent or started.
    #[error("the agent cannot be started there: {0}")]
    Push(String),
    /// The server does not accept the user's key.
    #[error("the SSH server refuses the key of user `{user}`")]
    Refused {
        /// The user.
        user: String,
    },
    /// Key exchange or login took too long.
    #[error("the SSH server did not let anybody in within {0:?}")]
    Silent(Duration),
    /// The server refuses to open a terminal, a shell or a command.
    #[error("the SSH server refuses {0}")]
    Request(&'static str),
    /// The connection ended before the command did.
    #[error("the SSH connection broke")]
    Disconnected,
    /// The user asked to leave at once, or labctl was told to end.
    #[error("the SSH session was left")]
    Left {
        /// Exit code for labctl: 128 + the signal's number, 255 after the escape.
        code: u8,
    },
    /// Standard input, standard output or the terminal failed.
    #[error("{what}: {why}")]
    Local {
        /// What was being done.
        what: &'static str,
        /// The kernel's reason.
        why: std::io::Error,
    },
    /// Everything else that the protocol can meet.
    #[error("SSH: {0}")]
    Protocol(russh::Error),
}

impl From<russh::Error> for SshError {
    fn from(why: russh::Error) -> Self {
        use russh::Error as R;
        match why {
            R::Disconnect | R::HUP | R::SendError | R::RecvError => Self::Disconnected,
            R::IO(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => Self::Disconnected,
            why => Self::Protocol(why),
        }
    }
}

impl SshError {
    /// For `map_err` on local streams.
    pub(super) fn local(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |why| Self::Local { what, why }
    }
}
