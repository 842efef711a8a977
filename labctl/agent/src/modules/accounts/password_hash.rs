//! Password hashes for web servers: Apache's MD5 (`$apr1$`), bcrypt (`$2y$`), SHA-1 (`{SHA}`), plain text.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use labctl_wire::crypt;
use md5::{Digest, Md5};
use sha1::Sha1;

/// Work factor of bcrypt: passlib's, which Ansible's module uses.
const COST: u32 = 12;

/// Whether this is the hash of the password; none if its kind is not supported here.
pub(crate) fn fits(password: &str, hash: &str) -> Option<bool> {
    if let Some(rest) = hash.strip_prefix("$apr1$") {
        let salt = rest.split('$').next().unwrap_or_default();
        return Some(apr1(password, salt) == hash);
    }
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).ok();
    }
    if hash.starts_with("{SHA}") {
        return Some(sha(password) == hash);
    }
    // A DES hash has 13 characters of this alphabet; a plain-text password may look the same, but then it would not be checked either.
    let is_des = hash.len() == 13 && crypt::is_written_so(hash);
    (!hash.starts_with('$') && !is_des || hash == password).then(|| hash == password)
}

/// A new hash of the password; `scheme` is passlib's name of its kind.
///
/// # Errors
/// The kind is not supported here, or there are no random bytes.
pub(crate) fn make(password: &str, scheme: &str) -> Result<String, String> {
    match scheme {
        "apr_md5_crypt" | "portable" => Ok(apr1(password, &salt(8).map_err(|err| format!("no random bytes: {err}"))?)),
        "bcrypt" => bcrypt::hash_with_result(password, COST)
            .map(|parts| parts.format_for_version(bcrypt::Version::TwoY))
            .map_err(|err| err.to_string()),
        "ldap_sha1" => Ok(sha(password)),
        "plaintext" => Ok(password.to_owned()),
        other => Err(format!("hash_scheme {other} is not supported: use apr_md5_crypt, bcrypt, ldap_sha1 or plaintext")),
    }
}

fn salt(length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length];
    std::fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes))?;
    Ok(crypt::salt(&bytes))
}

fn sha(password: &str) -> String {
    format!("{{SHA}}{}", STANDARD.encode(Sha1::digest(password)))
}

/// Apache's variant of the MD5 crypt (APR, `apr_md5_encode`).
fn apr1(password: &str, salt: &str) -> String {
    let (password, salt) = (password.as_bytes(), &salt.as_bytes()[..salt.len().min(8)]);
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update("$apr1$").chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..16.min(password.len() - at)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let odd = round % 2 == 1;
        let mut next = Md5::new().chain_update(if odd { password } else { &digest[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &digest[..] } else { password });
        digest = next.finalize();
    }
    let mut text = format!("$apr1${}$", String::from_utf8_lossy(salt));
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let word = u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]);
        crypt::push(word, 4, &mut text);
    }
    crypt::push(u32::from(digest[11]), 2, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Apache's documentation ("Password Formats") and `openssl passwd -apr1`.
    #[test]
    fn known_hashes() {
        assert_eq!(apr1("myPassword", "r31....."), "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/");
        assert_eq!(fits("myPassword", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="), Some(true));
        assert_eq!(fits("myPassword", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"), Some(true));
        assert_eq!(fits("other", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"), Some(false));
    }

    #[test]
    fn what_is_made_fits() {
        for scheme in ["apr_md5_crypt", "ldap_sha1", "plaintext"] {
            let hash = make("päss word", scheme).unwrap();
            assert_eq!((fits("päss word", &hash), fits("x", &hash)), (Some(true), Some(false)), "{scheme}");
        }
        assert_eq!(fits("x", "$6$salt$hash"), None);
        assert_eq!(fits("myPassword", "rqXexS6ZhobKA"), None);
        assert!(make("x", "des_crypt").unwrap_err().contains("apr_md5_crypt"));
        assert_ne!(make("x", "apr_md5_crypt"), make("x", "apr_md5_crypt"));
    }
}
