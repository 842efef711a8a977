//! Detached OpenPGP signatures (RFC 9580), verified with a pinned public key.
//!
//! A signature counts if the pinned key or one of its subkeys made it while that key was valid for signing: bound to
//! the pinned key, not revoked, not expired at the time of signing, and with an unbroken hash.

use std::time::{Duration, SystemTime};

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

/// Checks that `signature` (binary or armoured) over `content` was made by `key` (armoured). Returns the key's
/// fingerprint and first user name, or why the check failed.
pub(super) fn verify(content: &[u8], signature: &[u8], key: &str) -> Result<String, String> {
    let (key, _) = SignedPublicKey::from_string(key).map_err(|error| format!("the pinned key cannot be read: {error}"))?;
    key.primary_key_is_good()?;
    let signatures = parse(signature)?;
    let mut why = "it contains no signature".to_string();
    for signature in &signatures {
        match check(content, signature, &key) {
            Ok(()) => {
                let user = key.details.users.first().map_or(String::new(), |user| format!(" ({})", user.id.id().escape_ascii()));
                return Ok(format!("{}{user}", key.primary_key.fingerprint()));
            }
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

fn parse(bytes: &[u8]) -> Result<Vec<DetachedSignature>, String> {
    let unreadable = |error: pgp::errors::Error| format!("the signature cannot be read: {error}");
    if bytes.starts_with(b"-----BEGIN") {
        let (signature, _) = DetachedSignature::from_armor_single(bytes).map_err(unreadable)?;
        return Ok(vec![signature]);
    }
    DetachedSignature::from_bytes_many(bytes).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

fn check(content: &[u8], detached: &DetachedSignature, key: &SignedPublicKey) -> Result<(), String> {
    let signature = &detached.signature;
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err("it is not a signature of a document".into());
    }
    strong(signature)?;
    let at = signature.created().ok_or("it has no creation time")?;
    let lifetime = signature.signature_expiration_time().map_or(0, |lifetime| lifetime.as_secs());
    if ends(at, lifetime).is_some_and(|end| end < SystemTime::now()) {
        return Err("it has expired".into());
    }
    if signature.verify(&key.primary_key, content).is_ok() {
        return key.primary_key_signs(at);
    }
    for subkey in &key.public_subkeys {
        if signature.verify(&subkey.key, content).is_ok() {
            return subkey_signs(key, subkey, at);
        }
    }
    Err("none of its keys made this signature, or the list was modified".into())
}

/// Rejects hashes for which two documents with the same signature can be constructed.
fn strong(signature: &Signature) -> Result<(), String> {
    match signature.hash_alg() {
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => Ok(()),
        Some(HashAlgorithm::Sha3_256 | HashAlgorithm::Sha3_512) => Ok(()),
        other => Err(format!("its hash {other:?} is too weak")),
    }
}

/// When something that started at `start` and lives `seconds` ends; `None` means never.
fn ends(start: Timestamp, seconds: u32) -> Option<SystemTime> {
    (seconds != 0).then(|| SystemTime::from(start) + Duration::from_secs(u64::from(seconds)))
}

/// Checks of the pinned key itself.
trait Primary {
    /// Whether it is not revoked.
    fn primary_key_is_good(&self) -> Result<(), String>;
    /// Whether it was allowed to sign at that time.
    fn primary_key_signs(&self, at: Timestamp) -> Result<(), String>;
    /// The key's latest self-signature.
    fn latest_self_signature(&self) -> Option<&Signature>;
}

impl Primary for SignedPublicKey {
    fn primary_key_is_good(&self) -> Result<(), String> {
        let revocations = &self.details.revocation_signatures;
        if revocations.iter().any(|signature| signature.verify_key(&self.primary_key).is_ok()) {
            return Err("the pinned key is revoked".into());
        }
        Ok(())
    }

    fn primary_key_signs(&self, at: Timestamp) -> Result<(), String> {
        let own = self.latest_self_signature().ok_or("the pinned key does not certify itself")?;
        if !own.key_flags().sign() {
            return Err("the pinned key may not sign documents".into());
        }
        valid_at(self.primary_key.created_at(), own, at)
    }

    fn latest_self_signature(&self) -> Option<&Signature> {
        let users = self.details.users.iter();
        users
            .flat_map(|user| user.signatures.iter().map(move |signature| (user, signature)))
            .filter(|(user, signature)| {
                signature.verify_certification(&self.primary_key, Tag::UserId, &user.id).is_ok()
                    && signature.typ() != Some(SignatureType::CertRevocation)
            })
            .map(|(_, signature)| signature)
            .max_by_key(|signature| signature.created().map_or(0, Timestamp::as_secs))
    }
}

/// Whether a subkey was bound to the pinned key, for signing, at that time.
pub(super) fn subkey_signs(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: Timestamp) -> Result<(), String> {
    let bound = |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let ours: Vec<&Signature> = subkey.signatures.iter().filter(bound).collect();
    if ours.iter().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("the subkey that made it is revoked".into());
    }
    let binding = ours
        .into_iter()
        .max_by_key(|signature| signature.created().map_or(0, Timestamp::as_secs))
        .ok_or("the subkey that made it is not bound to the pinned key")?;
    let back = binding.embedded_signature();
    let agreed = back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok());
    if !binding.key_flags().sign() || !agreed {
        return Err("the subkey that made it may not sign documents".into());
    }
    valid_at(subkey.key.created_at(), binding, at)
}

/// Whether a key was valid when it signed, according to the signature that describes it.
fn valid_at(created: Timestamp, description: &Signature, at: Timestamp) -> Result<(), String> {
    if at < created {
        return Err("it claims to be older than the key that made it".into());
    }
    let lifetime = description.key_expiration_time().map_or(0, |lifetime| lifetime.as_secs());
    match ends(created, lifetime) {
        Some(end) if end <= SystemTime::from(at) => Err("the key that made it had expired".into()),
        _ => Ok(()),
    }
}
