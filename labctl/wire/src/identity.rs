//! A guest's identity: everything that differs between two nodes of the same image.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node's identity. The agent stores it in the guest and applies it again after a reboot, without the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Host name: the node's name.
    pub hostname: String,
    /// Domain: second word of the search list.
    pub domain: String,
    /// systemd's machine-id: 32 hex digits.
    pub machine_id: String,
    /// The machine's UUID, in lower case, as its firmware would report it; if empty, the guest's is unchanged.
    pub uuid: String,
    /// Ethernet address of the only NIC, `52:54:00:...`.
    pub mac: String,
    /// IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// IPv6 address, in a /64; without one, the NIC has no IPv6 at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Default route and name server.
    pub gateway: Option<Ipv4Addr>,
    /// All nodes of the lab with their names, for /etc/hosts; including this one.
    pub neighbours: Vec<Neighbour>,
    /// SSH host key (OpenSSH private key, PEM), generated on the host; if empty, the guest's is unchanged.
    pub ssh_host_key: String,
    /// Its public part in `authorized_keys` format.
    pub ssh_host_key_public: String,
    /// Further SSH host keys of the guest, of other kinds.
    #[serde(default)]
    pub more_host_keys: Vec<HostKey>,
    /// Public keys that may log in as root.
    pub authorized_keys: Vec<String>,
    /// The proxy through which this node reaches the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Certificate authorities that this node trusts besides those of its image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Authority>,
    /// The account that people log in with besides root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Random bytes for the kernel's generator (64 of them), credited as entropy and followed by a reseed.
    #[serde(with = "serde_bytes")]
    pub entropy: Vec<u8>,
    /// Wall clock in nanoseconds since 1970; 0 leaves the clock unchanged.
    pub clock_ns: u64,
}

/// An account that the guest must have. Its numbers are chosen by the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Groups besides its own; missing ones are made.
    pub groups: Vec<String>,
    /// Login shell; the guest's default if none.
    pub shell: Option<String>,
    /// Whether sudo lets it do everything without a password.
    pub sudo: bool,
    /// Public keys that open it.
    pub keys: Vec<String>,
}

/// An SSH host key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// OpenSSH private key, PEM.
    pub private: String,
    /// Its public part in `authorized_keys` format, which begins with its algorithm.
    pub public: String,
}

impl HostKey {
    /// OpenSSH's word for its kind in file names (`ssh_host_KIND_key`); none for a kind that has no such file.
    pub fn kind(&self) -> Option<&'static str> {
        match self.public.split(' ').next().unwrap_or_default() {
            "ssh-ed25519" => Some("ed25519"),
            "ssh-rsa" => Some("rsa"),
            curve if curve.starts_with("ecdsa-sha2-") => Some("ecdsa"),
            _ => None,
        }
    }
}

/// A node in /etc/hosts: a line for each of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Address.
    pub address: Ipv4Addr,
    /// IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Names, the canonical one first.
    pub names: Vec<String>,
}

/// A proxy; empty texts stand for what there is none of.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Address of the proxy for http, with its password.
    pub http: String,
    /// The same for https.
    pub https: String,
    /// Hosts, domains and subnets that are reached directly, separated by commas.
    pub no_proxy: String,
}

impl Proxy {
    /// The environment variables that programs look at. There is no standard: some read only the lower case, others only the upper case.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("http_proxy", &self.http),
            ("HTTP_PROXY", &self.http),
            ("https_proxy", &self.https),
            ("HTTPS_PROXY", &self.https),
            ("no_proxy", &self.no_proxy),
            ("NO_PROXY", &self.no_proxy),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.as_str())).collect()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The addresses may contain a password.
        f.debug_struct("Proxy").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its name: ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// Its certificates in PEM.
    pub pem: String,
}

impl Identity {
    /// SHA-256 in hex of everything persistent: all but entropy and clock. Shows whether a guest already has its identity.
    pub fn digest(&self) -> String {
        let lasting = Self { entropy: Vec::new(), clock_ns: 0, ..self.clone() };
        #[expect(clippy::expect_used, reason = "only a type that cannot be serialized at all fails")]
        let bytes = serde_json::to_vec(&lasting).expect("an identity is plain data");
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that was started by an older labctl must not seem to have another identity.
    #[test]
    fn without_a_user_nothing_is_said_about_one() {
        let json = serde_json::to_string(&Identity::default()).unwrap();
        assert!(!json.contains("user"), "{json}");
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap().user, None);
    }

    #[test]
    fn digest_ignores_clock_and_entropy_only() {
        let one = Identity { hostname: "a".into(), clock_ns: 1, entropy: vec![1], ..Identity::default() };
        let same = Identity { clock_ns: 2, entropy: vec![2], ..one.clone() };
        let other = Identity { hostname: "b".into(), ..one.clone() };
        assert_eq!(one.digest(), same.digest());
        assert_ne!(one.digest(), other.digest());
        let user = Identity { user: Some(User { name: "ann".into(), ..User::default() }), ..one.clone() };
        assert_ne!(one.digest(), user.digest());
    }
}
