//! SSH keys in OpenSSH's formats.

use labctl_wire::HostKey;
use rand::Rng;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde::{Deserialize, Serialize};

use crate::{Failure, Kind};

/// A key pair in OpenSSH's formats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// The private key (PEM).
    pub private: String,
    /// The public key: `ssh-ed25519 AAAA... comment`, or of another algorithm.
    pub public: String,
}

impl KeyPair {
    /// A new ed25519 pair from the host's random generator.
    pub fn generate(comment: &str) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), comment);
        key.and_then(|key| Self::of(&key)).map_err(|why| Failure::new(Kind::Internal, format!("cannot make an SSH key: {why}")))
    }

    /// The same pair with another comment on its public key, which is the only one that people see.
    #[must_use]
    pub fn with_comment(&self, comment: &str) -> Self {
        let words: Vec<&str> = self.public.split_whitespace().take(2).chain([comment]).collect();
        Self { private: self.private.clone(), public: words.join(" ") }
    }

    /// As a guest gets it.
    pub fn to_wire(&self) -> HostKey {
        HostKey { private: self.private.clone(), public: self.public.clone() }
    }

    fn of(key: &PrivateKey) -> Result<Self, russh::keys::ssh_key::Error> {
        Ok(Self { private: key.to_openssh(LineEnding::LF)?.to_string(), public: key.public_key().to_openssh()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_openssh_keys_and_never_the_same() {
        let (one, other) = (KeyPair::generate("a@b").unwrap(), KeyPair::generate("a@b").unwrap());
        assert_ne!(one.private, other.private);
        let key = PrivateKey::from_openssh(&one.private).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), one.public);
        assert!(one.public.starts_with("ssh-ed25519 ") && one.public.ends_with(" a@b"), "{}", one.public);
        assert_eq!(one.with_comment("root@n1").public, one.public.replace("a@b", "root@n1"));
    }

    /// Labs keep their keys for years: written by ssh-key 0.6 from a seed of sevens.
    #[test]
    fn keys_of_earlier_versions_are_read_and_still_written_so() {
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n\
        QyNTUxOQAAACDqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLAAAAJAAAAAAAAAA\n\
        AAAAAAtzc2gtZWQyNTUxOQAAACDqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA\n\
        AAAEAHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB+pKbGPinFIKvvVQexMuxfmV\n\
        R3auvr57kkIe6mkURtIsAAAABmxhYmN0bAECAwQFBgc=\n\
        -----END OPENSSH PRIVATE KEY-----\n";
        let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs labctl";
        let key = PrivateKey::from_openssh(private).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), public);
        let again = PrivateKey::new(Ed25519Keypair::from_seed(&[7; 32]).into(), "labctl").unwrap();
        assert_eq!(again.to_openssh(LineEnding::LF).unwrap().as_str(), private);
        assert_eq!(again.public_key().to_openssh().unwrap(), public);
    }
}
