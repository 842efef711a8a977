//! Digests of files.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// SHA-256 of all that is left to read.
pub fn sha256(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 << 10];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(hash.finalize().to_vec()),
            Ok(length) => hash.update(&block[..length]),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}
