//! Checksums of files: `sha256:HEX` or `sha512:HEX`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha512};

use crate::store_error::{StoreError, at};

/// The expected hash of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256, lower-case hex.
    Sha256(String),
    /// SHA-512, lower-case hex.
    Sha512(String),
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a checksum: write `sha256:` and 64 hex digits or `sha512:` and 128, as the vendor prints them");
        let (kind, digits) = text.trim().split_once(':').ok_or_else(bad)?;
        let digits = digits.trim().to_ascii_lowercase();
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        match (kind, digits.len()) {
            ("sha256", 64) => Ok(Self::Sha256(digits)),
            ("sha512", 128) => Ok(Self::Sha512(digits)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::Sha512(digits) => write!(f, "sha512:{digits}"),
        }
    }
}

impl Checksum {
    /// The file's actual checksum, with the same algorithm.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn of_same_kind(&self, path: &Path) -> Result<Self, StoreError> {
        match self {
            Self::Sha256(_) => Ok(Self::Sha256(digest::<Sha256>(path)?)),
            Self::Sha512(_) => Ok(Self::Sha512(digest::<Sha512>(path)?)),
        }
    }
}

/// SHA-256 of a file in hex.
pub(crate) fn sha256(path: &Path) -> Result<String, StoreError> {
    digest::<Sha256>(path)
}

fn digest<D: Digest>(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(at("open", path))?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(at("read", path))? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_in_either_case_and_nothing_else() {
        let sum = format!("sha256:{}", "AB".repeat(32)).parse::<Checksum>().unwrap();
        assert_eq!(sum.to_string(), format!("sha256:{}", "ab".repeat(32)));
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Checksum>().is_ok());
        for bad in ["", "sha256:", "md5:00", "sha512:PASTE-HERE", &format!("sha512:{}", "0".repeat(64)), &"0".repeat(64)] {
            assert!(bad.parse::<Checksum>().unwrap_err().contains("as the vendor prints them"), "{bad}");
        }
    }

    #[test]
    fn a_file_hashes_as_the_standard_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
