//! A lab's SSH keys, generated on the host.

use rand::RngCore;
use serde::{Deserialize, Serialize};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

use crate::{Failure, Kind};

/// An ed25519 key pair in OpenSSH's formats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// The private key (PEM).
    pub private: String,
    /// The public key: `ssh-ed25519 AAAA... comment`.
    pub public: String,
}

impl KeyPair {
    /// A new pair from the host's random generator.
    pub fn generate(comment: &str) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), comment);
        let encoded = key.and_then(|key| Ok((key.to_openssh(LineEnding::LF)?.to_string(), key.public_key().to_openssh()?)));
        let (private, public) = encoded.map_err(|why| Failure::new(Kind::Internal, format!("cannot make an SSH key: {why}")))?;
        Ok(Self { private, public })
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
    }
}
