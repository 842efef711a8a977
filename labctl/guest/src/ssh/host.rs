//! A machine that is not part of a lab, reached by SSH as its owner would: ssh_config, known_hosts, the SSH agent, the user's keys.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::TcpStream;

use super::settings::Settings;
use super::{LOGIN, Pinned, Session, SshError};

/// Time limit for setting up the TCP connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Keys that are tried if none is named, in OpenSSH's order of preference.
const USUAL_KEYS: &[&str] = &["id_ed25519", "id_ecdsa", "id_rsa"];

/// A machine and how to log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name or address to connect to.
    pub address: String,
    /// Port of its SSH server.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Private keys to try, in order; missing ones are skipped.
    pub keys: Vec<PathBuf>,
    /// Whether a key was named for this machine: if so, an unreadable one is an error.
    pub keys_named: bool,
    /// Files with known host keys.
    pub known_hosts: Vec<PathBuf>,
    /// The name under which its host key is stored, if not its address.
    pub alias: Option<String>,
    /// Socket of an SSH agent.
    pub agent: Option<PathBuf>,
}

impl Machine {
    /// The machine that the user calls `name`, according to the user's ssh_config and defaults. Arguments take precedence.
    ///
    /// # Errors
    /// Its configuration requires an unsupported connection method.
    pub fn of_user(name: &str, port: Option<u16>, user: Option<&str>, key: Option<&Path>) -> Result<Self, SshError> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("/"));
        let settings = Settings::read(&home.join(".ssh/config"), name, &home);
        if let Some(proxy) = settings.proxy {
            return Err(SshError::Proxy(proxy));
        }
        let keys_named = key.is_some() || !settings.keys.is_empty();
        let usual = || USUAL_KEYS.iter().map(|key| home.join(".ssh").join(key)).collect();
        let keys = match key {
            Some(key) => vec![key.strip_prefix("~").map_or_else(|_| key.to_owned(), |rest| home.join(rest))],
            None if settings.keys.is_empty() => usual(),
            None => settings.keys,
        };
        let mut known_hosts = settings.known_hosts;
        if known_hosts.is_empty() {
            known_hosts.push(home.join(".ssh/known_hosts"));
        }
        known_hosts.push(PathBuf::from("/etc/ssh/ssh_known_hosts"));
        let login = || std::env::var("USER").ok().or_else(|| std::env::var("LOGNAME").ok()).unwrap_or_else(|| "root".to_owned());
        Ok(Self {
            address: settings.address.unwrap_or_else(|| name.to_owned()),
            port: port.or(settings.port).unwrap_or(22),
            user: user.map(str::to_owned).or(settings.user).unwrap_or_else(login),
            keys,
            keys_named,
            known_hosts,
            alias: settings.alias,
            agent: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        })
    }

    /// The known host keys of the machine.
    fn known(&self) -> Result<Vec<PublicKey>, SshError> {
        let name = self.alias.as_deref().unwrap_or(&self.address);
        // An alias is looked up without a port, as in ssh_config(5).
        let port = if self.alias.is_some() { 22 } else { self.port };
        let mut out = Vec::new();
        for file in &self.known_hosts {
            let found = known_host_keys_path(name, port, file)
                .map_err(|why| SshError::Key { which: "known_hosts file", why: format!("{}: {why}", file.display()) })?;
            out.extend(found.into_iter().map(|(_, key)| key));
        }
        let revoked = self.revoked();
        out.retain(|key| !revoked.contains(&key.key_data().clone()));
        Ok(out)
    }

    /// Keys with the marker `@revoked`, whatever host they belong to.
    fn revoked(&self) -> Vec<russh::keys::ssh_key::public::KeyData> {
        let texts = self.known_hosts.iter().filter_map(|file| fs::read_to_string(file).ok());
        let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let keys = lines.iter().filter_map(|line| line.strip_prefix("@revoked")?.trim_start().split_once(' '));
        keys.filter_map(|(_, key)| Some(PublicKey::from_openssh(key.trim()).ok()?.key_data().clone())).collect()
    }

    /// Connects and logs in. The host key must be in a known_hosts file: an unknown one is never accepted.
    pub async fn enter(&self) -> Result<Session, SshError> {
        let known = self.known()?;
        if known.is_empty() {
            return Err(SshError::Unknown { address: self.address.clone(), port: self.port, file: self.known_hosts[0].clone() });
        }
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect((self.address.as_str(), self.port)));
        let unreachable = |why: String| SshError::Unreachable { address: self.address.clone(), port: self.port, why };
        let stream =
            stream.await.map_err(|_| unreachable(format!("no answer within {CONNECT:?}")))?.map_err(|why| unreachable(why.to_string()))?;
        // Small messages go back and forth; collecting them would only add delay.
        let _ = stream.set_nodelay(true);
        let mut config = client::Config { keepalive_interval: Some(Duration::from_secs(15)), ..client::Config::default() };
        // Of several host keys the server presents the type that the client prefers: prefer the known ones.
        let mut kinds: Vec<_> = known.iter().map(PublicKey::algorithm).collect();
        kinds.extend(config.preferred.key.iter().filter(|kind| !known.iter().any(|key| key.algorithm() == **kind)).cloned());
        config.preferred.key = Cow::Owned(kinds);
        let entered = async {
            let mut handle = client::connect_stream(Arc::new(config), stream, Pinned(known)).await?;
            self.log_in(&mut handle).await?;
            Ok(Session { handle })
        };
        tokio::time::timeout(LOGIN, entered).await.unwrap_or(Err(SshError::Silent(LOGIN)))
    }

    async fn log_in(&self, handle: &mut Handle<Pinned>) -> Result<(), SshError> {
        let mut trouble = Vec::new();
        for path in &self.keys {
            let text = match fs::read_to_string(path) {
                Ok(text) => text,
                Err(why) if why.kind() == std::io::ErrorKind::NotFound && !self.keys_named => continue,
                Err(why) => {
                    trouble.push(format!("{}: {why}", path.display()));
                    continue;
                }
            };
            let key = match PrivateKey::from_openssh(&text) {
                Ok(key) if key.is_encrypted() => {
                    trouble.push(format!("{} has a passphrase: add it to an SSH agent (ssh-add)", path.display()));
                    continue;
                }
                Ok(key) => key,
                Err(why) => {
                    trouble.push(format!("{}: {why}", path.display()));
                    continue;
                }
            };
            let hash = if key.algorithm().is_rsa() { handle.best_supported_rsa_hash().await?.flatten() } else { None };
            if handle.authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await?.success() {
                return Ok(());
            }
            trouble.push(format!("{} was refused", path.display()));
        }
        if self.by_agent(handle, &mut trouble).await? {
            return Ok(());
        }
        if trouble.is_empty() {
            trouble.push("there is no key to log in with".to_owned());
        }
        Err(SshError::NotLetIn { user: self.user.clone(), address: self.address.clone(), trouble: trouble.join("; ") })
    }

    /// Tries the keys of the SSH agent. A failing agent is only noted in `trouble`.
    async fn by_agent(&self, handle: &mut Handle<Pinned>, trouble: &mut Vec<String>) -> Result<bool, SshError> {
        let Some(socket) = &self.agent else { return Ok(false) };
        let identities = match AgentClient::connect_uds(socket).await {
            Ok(mut agent) => agent.request_identities().await.map(|identities| (agent, identities)),
            Err(why) => Err(why),
        };
        let (mut agent, identities) = match identities {
            Ok(found) => found,
            Err(why) => {
                trouble.push(format!("the SSH agent at {}: {why}", socket.display()));
                return Ok(false);
            }
        };
        for identity in identities {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let hash = if key.algorithm().is_rsa() { handle.best_supported_rsa_hash().await?.flatten() } else { None };
            match handle.authenticate_publickey_with(&self.user, key, hash, &mut agent).await {
                Ok(outcome) if outcome.success() => return Ok(true),
                Ok(_) => trouble.push(format!("the SSH agent's key {comment} was refused")),
                Err(why) => trouble.push(format!("the SSH agent's key {comment}: {why}")),
            }
        }
        Ok(false)
    }
}

/// The last part of a remote program's output, for messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<String>>);

impl Said {
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned()
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(bytes));
        let most = 4096;
        if text.len() > most {
            let cut = (text.len() - most..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.drain(..cut);
        }
    }
}

/// The fingerprint of a key, in ssh-keygen's format.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
