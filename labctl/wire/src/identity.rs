//! Who a guest is: everything that differs between two nodes of the same image.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node's identity. The agent keeps it in the guest, so that a reboot takes it on again without the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Host name: the node's name.
    pub hostname: String,
    /// Domain: second word of the search list.
    pub domain: String,
    /// systemd's machine-id: 32 hex digits.
    pub machine_id: String,
    /// The machine's UUID, in lower case, as its firmware would tell it; empty leaves the guest's as it is.
    pub uuid: String,
    /// Ethernet address of the only NIC, `52:54:00:...`.
    pub mac: String,
    /// IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// Default route and name server.
    pub gateway: Option<Ipv4Addr>,
    /// All nodes of the lab with their names, for /etc/hosts; this one included.
    pub neighbours: Vec<Neighbour>,
    /// SSH host key (OpenSSH private key, PEM), made on the host; empty leaves the guest's as it is.
    pub ssh_host_key: String,
    /// Public part of it in `authorized_keys` form.
    pub ssh_host_key_public: String,
    /// Public keys that may log in as root.
    pub authorized_keys: Vec<String>,
    /// Random bytes for the kernel's generator (64 of them), credited and followed by a reseed.
    #[serde(with = "serde_bytes")]
    pub entropy: Vec<u8>,
    /// Wall clock in nanoseconds since 1970; 0 leaves the clock as it is.
    pub clock_ns: u64,
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
    /// SHA-256 in hex over everything that lasts: all but entropy and clock. Tells whether a guest already is who it should be.
    pub fn digest(&self) -> String {
        let lasting = Self { entropy: Vec::new(), clock_ns: 0, ..self.clone() };
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
