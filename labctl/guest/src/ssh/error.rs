//! Why an SSH session could not be opened, or broke.

use std::time::Duration;

/// A failure of an SSH session.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A key for the login cannot be read.
    #[error("the {which} cannot be read: {why}")]
    Key {
        /// Which key.
        which: &'static str,
        /// The reason.
        why: String,
    },
    /// The server's key is not the pinned one: it is not the intended machine.
    #[error("the SSH server is not the expected one: its host key is {found}, expected {wanted}")]
    HostKey {
        /// Fingerprint of the server's key.
        found: String,
        /// Fingerprint of the pinned key.
        wanted: String,
    },
    /// No known_hosts file has a key for the server.
    #[error("the host key of {address} is unknown; fetch it, verify it and keep it: ssh-keyscan -p {port} {address} >> {}", file.display())]
    Unknown {
        /// The server's address.
        address: String,
        /// Its port.
        port: u16,
        /// The file to add it to.
        file: std::path::PathBuf,
    },
    /// The connection failed.
    #[error("{address} port {port}: {why}")]
    Unreachable {
        /// The server's address.
        address: String,
        /// Its port.
        port: u16,
        /// The reason.
        why: String,
    },
    /// ssh_config requires a connection method that labctl does not support.
    #[error("ssh_config reaches this host by `{0}`, which is not supported: give an address that can be reached directly (ansible_host)")]
    Proxy(String),
    /// No key was accepted.
    #[error("{address} rejects the login of `{user}`: {trouble}")]
    NotLetIn {
        /// The user that tried to log in.
        user: String,
        /// The server's address.
        address: String,
        /// What happened with each key.
        trouble: String,
    },
    /// The agent could not be sent or started.
    #[error("the agent cannot be started on this machine: {0}")]
    Push(String),
    /// The server does not accept the user's key.
    #[error("the SSH server refuses the key of user `{user}`")]
    Refused {
        /// The user.
        user: String,
    },
    /// Key exchange or login took too long.
    #[error("the SSH login was not completed within {0:?}")]
    Silent(Duration),
    /// The server refuses to open a terminal, a shell or a command.
    #[error("the SSH server refuses {0}")]
    Request(&'static str),
    /// The connection closed before the command finished.
    #[error("the SSH connection broke")]
    Disconnected,
    /// The user asked to leave at once, or labctl received a termination signal.
    #[error("the SSH session was closed from this side")]
    Left {
        /// Exit code for labctl: 128 + the signal number, or 255 after the escape.
        code: u8,
    },
    /// Standard input, standard output or the terminal failed.
    #[error("{what}: {why}")]
    Local {
        /// The failed operation.
        what: &'static str,
        /// The kernel's reason.
        why: std::io::Error,
    },
    /// Any other protocol error.
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
