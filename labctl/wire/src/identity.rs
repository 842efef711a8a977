//! A guest's identity: everything that differs between two nodes of the same image.

use std::net::Ipv4Addr;

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
    /// Random bytes for the kernel's generator (64 of them), credited as entropy and followed by a reseed.
    #[serde(with = "serde_bytes")]
    pub entropy: Vec<u8>,
    /// Wall clock in nanoseconds since 1970; 0 leaves the clock unchanged.
    pub clock_ns: u64,
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

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Address.
    pub address: Ipv4Addr,
    /// Names, the canonical one first.
    pub names: Vec<String>,
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

    #[test]
    fn digest_ignores_clock_and_entropy_only() {
        let one = Identity { hostname: "a".into(), clock_ns: 1, entropy: vec![1], ..Identity::default() };
        let same = Identity { clock_ns: 2, entropy: vec![2], ..one.clone() };
        let other = Identity { hostname: "b".into(), ..one.clone() };
        assert_eq!(one.digest(), same.digest());
        assert_ne!(one.digest(), other.digest());
    }
}
