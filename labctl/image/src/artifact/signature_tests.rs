use super::super::tests::made;
use super::*;

/// Verifies a signature of `release.sums`, both as made by `tests/signatures/make.sh`.
fn verified(signature: &str, key: &str) -> Result<String, String> {
    check(&made("release.sums"), &made(signature), &text(key))
}

fn check(content: &[u8], signature: &[u8], key: &str) -> Result<String, String> {
    verify(content, signature, key, tempfile::tempdir().unwrap().path())
}

fn text(name: &str) -> String {
    String::from_utf8(made(name)).unwrap()
}

fn refused(signature: &str, key: &str, reason: &str) {
    let why = verified(signature, key).unwrap_err();
    assert!(why.contains(reason), "{signature} with {key}: {why}");
}

#[test]
fn a_signature_by_the_key_or_its_signing_subkey_counts() {
    let fingerprint = Keys::read(&text("vendor.asc")).unwrap().fingerprints.remove(0);
    for signature in ["release.sig", "subkey.sig", "subkey.sig.asc", "2023.sig", "text.sig"] {
        assert_eq!(verified(signature, "vendor.asc").unwrap(), format!("{fingerprint} (Vendor <vendor@example.com>)"), "{signature}");
    }
    // What became of the other keys of the vendor does not matter.
    verified("subkey.sig", "certifies.asc").unwrap();
    verified("release.sig", "subkey-expired.asc").unwrap();
    verified("release.sig", "subkey-revoked.asc").unwrap();
}

#[test]
fn other_contents_and_other_keys_are_refused() {
    for signature in ["release.sig", "subkey.sig", "subkey.sig.asc", "text.sig"] {
        let why = check(b"another list", &made(signature), &text("vendor.asc")).unwrap_err();
        assert!(why.contains("modified after signing"), "{why}");
    }
    refused("other.sig", "vendor.asc", "not by the pinned key");
    refused("release.sig", "other.asc", "not by the pinned key");
    refused("subkey.sig", "other.asc", "not by the pinned key");
}

#[test]
fn keys_that_are_revoked_expired_or_not_for_signing_are_refused() {
    for signature in ["release.sig", "subkey.sig"] {
        refused(signature, "revoked.asc", "the key that made it is revoked");
        refused(signature, "expired.asc", "the key that made it has expired");
        refused(signature, "expired-and-revoked.asc", "the key that made it has expired");
    }
    refused("2023.sig", "expired.asc", "the key that made it has expired");
    refused("subkey.sig", "subkey-revoked.asc", "the key that made it is revoked");
    refused("subkey.sig", "subkey-expired.asc", "the key that made it has expired");
    refused("release.sig", "certifies.asc", "may not sign documents");
}

#[test]
fn weak_hashes_expired_empty_and_garbled_signatures_are_refused() {
    refused("weak.sig", "vendor.asc", "its hash SHA-1 is too weak");
    refused("sha224.sig", "vendor.asc", "its hash SHA-224 is too weak");
    refused("expired.sig", "vendor.asc", "it has expired");
    let (list, key) = (made("release.sums"), text("vendor.asc"));
    let refused = |signature: &[u8], reason: &str| {
        let why = check(&list, signature, &key).unwrap_err();
        assert!(why.contains(reason), "{why}");
    };
    refused(b"", "contains no signature");
    refused(b"garbage", "cannot be read");
    refused(&list, "cannot be read");
    refused(key.as_bytes(), "cannot be read");
    let mut good = made("release.sig");
    refused(&good[..good.len() - 1], "cut off");
    refused(&good.repeat(MOST + 1), "17 signatures");
    // A literal packet after the signature: gpgv must not be asked about a content that it brings along.
    refused(&[&good[..], &[0xcb, 6, b'b', 0, 0, 0, 0, 0]].concat(), "other than detached signatures");
    let last = good.len() - 1;
    good[last] ^= 1;
    refused(&good, "modified after signing");
    for bad in ["garbage", "", &text("subkey.sig.asc"), &text("vendor.asc").replace("PUBLIC", "PRIVATE")] {
        let why = check(&list, &made("release.sig"), bad).unwrap_err();
        assert!(why.contains("the pinned key cannot be read"), "{why}");
    }
}

#[test]
fn one_good_signature_or_pinned_key_of_several_is_enough() {
    let (list, both) = (made("release.sums"), [made("other.sig"), made("release.sig")]);
    check(&list, &both.concat(), &text("vendor.asc")).unwrap();
    let reversed = [&both[1][..], &both[0]].concat();
    check(&list, &reversed, &text("vendor.asc")).unwrap();
    let keys = text("other.asc") + &text("vendor.asc");
    for signature in both.iter().chain([&made("subkey.sig")]) {
        check(&list, signature, &keys).unwrap();
    }
    // No key helps another one.
    let keys = text("other.asc") + &text("revoked.asc");
    assert!(check(&list, &both[1], &keys).unwrap_err().contains("revoked"));
}

/// What gpgv says decides only as a whole.
#[test]
fn status_lines_that_contradict_each_other_are_refused() {
    let status = |words: &[&str]| words.iter().map(|line| format!("[GNUPG:] {line}\n")).collect::<String>();
    let pinned = ["AA".to_owned()];
    let valid = |hash: &str, class: &str, key: &str| format!("VALIDSIG BB 2021-01-01 1 0 4 0 22 {hash} {class} {key}");
    let of = |valid: &str| judge(&status(&["NEWSIG", "GOODSIG BB A \u{7}user", valid]), &pinned);
    assert_eq!(of(&valid("10", "00", "AA")).unwrap(), "AA (A \\u{7}user)");
    assert!(of(&valid("2", "00", "AA")).unwrap_err().contains("SHA-1 is too weak"));
    assert!(of(&valid("8", "10", "AA")).unwrap_err().contains("not a signature of a document"));
    assert!(of(&valid("8", "00", "BB")).unwrap_err().contains("made by BB"));
    assert!(of("VALIDSIG AA 2021-01-01 1 0 4 0 22 8 00").is_err());
    assert!(of("NODATA 1").is_err());
    let good = valid("8", "00", "AA");
    for bad in ["BADSIG BB x", "EXPSIG BB x", "EXPKEYSIG BB x", "REVKEYSIG BB x", "ERRSIG BB 22 8 00 1 4 BB"] {
        assert!(judge(&status(&["GOODSIG BB x", &good, bad]), &pinned).is_err(), "{bad}");
    }
    assert!(judge(&status(&[&good]), &pinned).is_err());
    assert!(judge("GOODSIG BB x\nVALIDSIG AA", &pinned).is_err());
}

#[test]
fn the_shipped_key_is_the_vendors() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/keys/hashicorp.asc")).unwrap();
    // Published by the vendor at hashicorp.com/security.
    assert_eq!(Keys::read(&text).unwrap().fingerprints, ["C874011F0AB405110D02105534365D9472D7468F"]);
    assert!(check(b"", &made("release.sig"), &text).unwrap_err().contains("not by the pinned key"));
}
