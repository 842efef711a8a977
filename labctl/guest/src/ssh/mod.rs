//! SSH to a guest, over any byte stream: one pinned host key, one user key, one command or shell per session.
//!
//! ```text
//! connect: key exchange -> host key is the pinned one -> login by key -> Session
//! Session::run:    one channel, any streams        (run.rs)
//! Session::attach: one channel, the user's own terminal or pipes   (attach.rs)
//! Machine::enter:  the same for a machine outside any lab, by ssh_config and known_hosts (host.rs, settings.rs)
//! Session::start_agent: the agent, pushed there and started        (push.rs)
//! ```

mod attach;
mod error;
mod escape;
mod host;
mod push;
mod run;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(all(test, target_os = "linux"))]
mod tests_push;
#[cfg(all(test, target_os = "linux"))]
mod tests_sshd;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle, Handler};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};

pub use error::SshError;
pub use host::Machine;
pub use push::Started;
pub use run::{Control, Exit, Request, Size, Terminal};

/// Time limit for key exchange and login. Emulated guests need a second when idle and several when they boot at the same time.
const LOGIN: Duration = Duration::from_secs(60);

/// The login of a user, and the only server key to accept.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The user's private key, in OpenSSH's format (PEM), without a passphrase.
    pub private_key: String,
    /// The server's public key: `ssh-ed25519 AAAA...`. Any other is rejected.
    pub host_key: String,
}

/// A logged-in connection.
pub struct Session {
    handle: Handle<Pinned>,
}

/// Accepts only these host keys.
struct Pinned(Vec<PublicKey>);

impl Handler for Pinned {
    type Error = SshError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let wanted = || self.0.iter().map(host::fingerprint).collect::<Vec<_>>().join(" or ");
        match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.0.iter().any(|known| known.key_data() == key.key_data()) => Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => Err(SshError::HostKey { found: host::fingerprint(key), wanted: wanted() }),
            PublicKeyOrCertificate::Certificate(_) => Err(SshError::HostKey { found: "a certificate".into(), wanted: wanted() }),
        }
    }
}

/// Logs in over `stream`.
pub async fn connect<S>(stream: S, login: Login) -> Result<Session, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bad = |which| move |why: russh::keys::ssh_key::Error| SshError::Key { which, why: why.to_string() };
    let key = PrivateKey::from_openssh(&login.private_key).map_err(bad("private key"))?;
    let pinned = PublicKey::from_openssh(login.host_key.trim_end()).map_err(bad("pinned host key"))?;
    let mut config = client::Config::default();
    // The pinned key's type first: of several host keys the server presents the type that the client prefers.
    let mut kinds = vec![pinned.algorithm()];
    kinds.extend(config.preferred.key.iter().filter(|kind| **kind != pinned.algorithm()).cloned());
    config.preferred.key = Cow::Owned(kinds);
    let entered = async {
        let mut handle = client::connect_stream(Arc::new(config), stream, Pinned(vec![pinned])).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        match handle.authenticate_publickey(&login.user, key).await?.success() {
            true => Ok(Session { handle }),
            false => Err(SshError::Refused { user: login.user }),
        }
    };
    tokio::time::timeout(LOGIN, entered).await.unwrap_or(Err(SshError::Silent(LOGIN)))
}

impl Session {
    /// Disconnects cleanly. Dropping the session also closes the connection.
    pub async fn disconnect(self) -> Result<(), SshError> {
        Ok(self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await?)
    }
}
