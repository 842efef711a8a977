//! Detached OpenPGP signatures, verified by GnuPG's gpgv with a pinned public key.
//!
//! A signature counts if the pinned key or one of its subkeys made it while that key was valid for signing: bound to
//! the pinned key, not revoked, not expired, and with an unbroken hash. gpgv sees nothing but the pinned key, one
//! signature and the content, and what it says is taken from its status lines (GnuPG's doc/DETAILS).
//!
//! A signature that a key made before it expired is refused once the key has expired. gpgv calls the key expired then
//! and does not say whether it is also revoked, nor when a subkey expired together with its primary key.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::openpgp::{self, Keys, SIGNATURE};
use crate::child;
use crate::missing::Tool;

/// Verifies vendors' signatures.
pub(crate) const GPGV: Tool = Tool {
    program: "gpgv",
    package: if cfg!(target_os = "macos") { "gnupg" } else { "gpgv" },
    why: "verifies the signatures of vendors' releases",
};

/// How many signatures of a file are tried. A vendor with an old and a new key has two.
const MOST: usize = 16;

/// Hashes for which no two documents with the same signature can be constructed: SHA-2 and SHA-3 of 256 bits or more
/// (RFC 9580, 9.5).
const STRONG: [&str; 5] = ["8", "9", "10", "12", "14"];

/// Checks that `signature` (binary or armoured) over `content` was made by one of the keys in `key` (armoured). Returns
/// the key's fingerprint and user name, or why the check failed. Needs [`GPGV`] and an empty folder to work in.
pub(super) fn verify(content: &[u8], signature: &[u8], key: &str, folder: &Path) -> Result<String, String> {
    let keys = Keys::read(key).map_err(|error| format!("the pinned key cannot be read: {error}"))?;
    let unreadable = |error: String| format!("the signature cannot be read: {error}");
    let bytes = match signature.trim_ascii_start().starts_with(b"-----BEGIN") {
        true => openpgp::dearmour(&String::from_utf8_lossy(signature), "SIGNATURE").map_err(unreadable)?,
        false => signature.to_vec(),
    };
    let packets = openpgp::packets(&bytes).map_err(unreadable)?;
    if packets.iter().any(|packet| packet.tag != SIGNATURE) {
        return Err(unreadable("it contains something other than detached signatures".into()));
    }
    if packets.len() > MOST {
        return Err(format!("it contains {} signatures, and no more than {MOST} are tried", packets.len()));
    }
    let written = |error: std::io::Error| format!("cannot write to {}: {error}", folder.display());
    fs::create_dir_all(folder.join("home")).map_err(written)?;
    fs::write(folder.join("content"), content).map_err(written)?;
    fs::write(folder.join("keyring.gpg"), &keys.bytes).map_err(written)?;
    let mut why = "it contains no signature".to_owned();
    for packet in packets {
        fs::write(folder.join("signature"), packet.whole).map_err(written)?;
        match judge(&gpgv(folder)?, &keys.fingerprints) {
            Ok(signer) => return Ok(signer),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// What gpgv says about the files in the folder: its status lines.
fn gpgv(folder: &Path) -> Result<String, String> {
    let program = child::find(GPGV.program).ok_or("gpgv is not installed")?;
    let output = Command::new(program)
        // Neither the user's language nor their configuration changes what it says.
        .env_clear()
        .env("LC_ALL", "C")
        .args(["--status-fd", "1", "--weak-digest", "SHA1", "--homedir"])
        .arg(folder.join("home"))
        .arg("--keyring")
        .arg(folder.join("keyring.gpg"))
        .arg("--")
        .args([folder.join("signature"), folder.join("content")])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("gpgv cannot be started: {error}"))?;
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    // It fails whenever a signature is not good, and the status lines say why.
    if status.lines().any(|line| line.starts_with(PREFIX)) && (output.status.success() || !good(&status)) {
        return Ok(status);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("gpgv failed ({}): {}", output.status, words.trim().replace('\n', "; ")))
}

/// What status lines begin with.
const PREFIX: &str = "[GNUPG:] ";

fn lines(status: &str) -> impl Iterator<Item = (&str, &str)> {
    status.lines().filter_map(|line| line.strip_prefix(PREFIX)).map(|line| line.split_once(' ').unwrap_or((line, "")))
}

fn good(status: &str) -> bool {
    lines(status).any(|(word, _)| word == "GOODSIG")
}

/// Decides from gpgv's status lines about one signature.
fn judge(status: &str, pinned: &[String]) -> Result<String, String> {
    let mut user = None;
    let mut valid: Option<Vec<&str>> = None;
    for (word, rest) in lines(status) {
        match word {
            "GOODSIG" => user = rest.split_once(' ').map(|(_, user)| user),
            "VALIDSIG" => valid = Some(rest.split(' ').collect()),
            "BADSIG" => return Err("the list, or the signature itself, was modified after signing".into()),
            "EXPSIG" => return Err("it has expired".into()),
            "EXPKEYSIG" => return Err("the key that made it has expired; pin the key that the vendor publishes now".into()),
            "REVKEYSIG" => return Err("the key that made it is revoked".into()),
            "ERRSIG" => return Err(unverifiable(&rest.split(' ').collect::<Vec<_>>())),
            _ => {}
        }
    }
    let (Some(user), Some(valid)) = (user, valid) else {
        return Err("gpgv found no good signature".into());
    };
    // fingerprint, date, time, expiry, version, reserved, algorithm, hash, class, fingerprint of the primary key
    let [_, _, _, _, _, _, _, hash, class, primary, ..] = valid[..] else {
        return Err(format!("gpgv says nothing about its hash and its primary key: {}", valid.join(" ")));
    };
    strong(hash)?;
    // Binary and text.
    if !["00", "01"].contains(&class) {
        return Err("it is not a signature of a document".into());
    }
    if !pinned.iter().any(|fingerprint| fingerprint == primary) {
        return Err(format!("it was made by {primary}, not by the pinned key"));
    }
    Ok(format!("{primary} ({})", user.escape_debug()))
}

fn strong(hash: &str) -> Result<(), String> {
    if STRONG.contains(&hash) {
        return Ok(());
    }
    let name = match hash {
        "1" => "MD5",
        "2" => "SHA-1",
        "3" => "RIPEMD-160",
        "11" => "SHA-224",
        _ => hash,
    };
    Err(format!("its hash {name} is too weak"))
}

/// Why gpgv could not verify: key id, algorithm, hash, class, time, error (of libgpg-error), fingerprint.
fn unverifiable(fields: &[&str]) -> String {
    let [key, _, hash, _, _, error, ..] = fields[..] else {
        return "gpgv cannot verify it".into();
    };
    let by = fields.get(6).filter(|fingerprint| **fingerprint != "-").unwrap_or(&key);
    match (strong(hash), error) {
        (Err(weak), _) => weak,
        (_, "9") => format!("it was made by {by}, not by the pinned key"),
        (_, "6") => format!("the key {by} does not certify itself, or not with an unbroken hash"),
        (_, "125") => format!("the key {by} may not sign documents"),
        (_, "39") => "it claims to be older than the key that made it".into(),
        (_, error) => format!("gpgv cannot verify it (error {error} of libgpg-error, key {by})"),
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
