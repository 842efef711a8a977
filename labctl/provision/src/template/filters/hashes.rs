//! Digests, passwords, identifiers.

use sha2::Digest;

use super::{Call, Outcome, bad};
use crate::controller::Controller;
use crate::data::Data;

pub(super) const FILTERS: super::Table = &[
    ("hash", |call| digest(&call.text_arg(0, "hashtype").unwrap_or_else(|| "sha1".to_owned()), call.text().as_bytes())),
    ("checksum", |call| digest("sha1", call.text().as_bytes())),
    ("sha1", |call| digest("sha1", call.text().as_bytes())),
    ("md5", |call| digest("md5", call.text().as_bytes())),
    ("password_hash", password_hash),
    ("to_uuid", to_uuid),
];

fn digest(kind: &str, bytes: &[u8]) -> Outcome {
    Ok(Data::from(match kind {
        "md5" => hex::encode(md5::Md5::digest(bytes)),
        "sha1" => hex::encode(sha1::Sha1::digest(bytes)),
        "sha224" => hex::encode(sha2::Sha224::digest(bytes)),
        "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
        "sha384" => hex::encode(sha2::Sha384::digest(bytes)),
        "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
        other => return Err(bad(format!("unsupported hash type {other}"))),
    }))
}

fn password_hash(call: &mut Call) -> Outcome {
    let kind = call.text_arg(0, "hashtype").unwrap_or_else(|| "sha512".to_owned());
    let salt = call.text_arg(1, "salt").unwrap_or_else(|| crate::password::salt(Controller::current().random("password_hash"), 16));
    crate::password::hash(&call.text(), &kind, &salt, call.int_arg(3, "rounds")).map(Data::from).map_err(bad)
}

/// A version 5 UUID in Ansible's namespace (RFC 9562, section 5.5).
fn to_uuid(call: &mut Call) -> Outcome {
    let space = call.text_arg(0, "namespace").unwrap_or_else(|| "361E6D51-FAEC-444A-9079-341386DA8E2E".to_owned());
    let space = hex::decode(space.replace('-', ""))
        .ok()
        .filter(|bytes| bytes.len() == 16)
        .ok_or_else(|| bad(format!("Invalid value '{space}' for 'namespace'")))?;
    let mut bytes = sha1::Sha1::digest([space.as_slice(), call.text().as_bytes()].concat())[..16].to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    Ok(Data::from(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])))
}
