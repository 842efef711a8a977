//! Password hashes in crypt(5) format.

use labctl_wire::crypt;
use rand::Rng;

/// A random salt of that many characters.
pub(crate) fn salt(mut random: impl Rng, length: usize) -> String {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    crypt::salt(&bytes)
}

/// The number of rounds that crypt(5) uses if none is given.
const ROUNDS: u32 = 5000;

/// The order in which crypt(5) encodes the bytes of a SHA-512 digest, three at a time.
fn order_512() -> Vec<[usize; 3]> {
    let mut order = Vec::new();
    let (mut a, mut b, mut c) = (0, 21, 42);
    for _ in 0..21 {
        order.push([a, b, c]);
        (a, b, c) = (b + 1, c + 1, a + 1);
    }
    order
}

fn order_256() -> Vec<[usize; 3]> {
    let mut order = Vec::new();
    let (mut a, mut b, mut c) = (0, 10, 20);
    for _ in 0..10 {
        order.push([a, b, c]);
        (a, b, c) = (c + 1, a + 1, b + 1);
    }
    order
}

/// The hash of a password: `sha512` or `sha256`.
pub(crate) fn hash(password: &str, kind: &str, salt: &str, rounds: Option<i64>) -> Result<String, String> {
    let id = match kind {
        "sha512" | "sha512_crypt" => 6,
        "sha256" | "sha256_crypt" => 5,
        other => {
            return Err(format!("hash type {other} is not supported: use sha512 or sha256"));
        }
    };
    let salt_text: String = salt.chars().take(16).collect();
    if salt_text.contains(['$', ':', '\n']) {
        return Err(format!("invalid characters in salt '{salt_text}'"));
    }
    // Ansible hashes with passlib, whose defaults are these.
    let usual = if id == 5 { 535_000 } else { 656_000 };
    let rounds = rounds.map_or(Ok(usual), u32::try_from).map_err(|_| "rounds must be positive".to_owned())?;
    let params = sha_crypt::Params::new(rounds).map_err(|_| format!("rounds must be from 1000 to 999999999, not {rounds}"))?;
    let explicit = if rounds == ROUNDS { String::new() } else { format!("rounds={rounds}$") };
    let mut out = format!("${id}${explicit}{salt_text}$");
    let word = |digest: &[u8], [a, b, c]: [usize; 3]| (u32::from(digest[a]) << 16) | (u32::from(digest[b]) << 8) | u32::from(digest[c]);
    if id == 6 {
        let digest = sha_crypt::sha512_crypt(password.as_bytes(), salt_text.as_bytes(), params);
        for triple in order_512() {
            crypt::push(word(&digest, triple), 4, &mut out);
        }
        crypt::push(u32::from(digest[63]), 2, &mut out);
    } else {
        let digest = sha_crypt::sha256_crypt(password.as_bytes(), salt_text.as_bytes(), params);
        for triple in order_256() {
            crypt::push(word(&digest, triple), 4, &mut out);
        }
        crypt::push((u32::from(digest[31]) << 8) | u32::from(digest[30]), 3, &mut out);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test values of the SHA-crypt specification, as produced by glibc's crypt(3).
    #[test]
    fn hashes_as_the_specification() {
        assert_eq!(
            hash("Hello world!", "sha512", "saltstring", Some(5000)).unwrap(),
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        );
        assert_eq!(
            hash("Hello world!", "sha256", "saltstring", Some(5000)).unwrap(),
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
        );
        assert!(hash("x", "md5_crypt", "", None).is_err());
    }
}
