#!/bin/bash
# Makes the files beside it: keys, checksum lists, their signatures and the archives that they list, for the tests in
# src/artifact. Run it only to add a case: it makes new keys, so every file changes. Needs GnuPG 2.2 or newer, Python 3.
# No private key is kept.
set -euo pipefail
cd "$(dirname "$0")"
export GNUPGHOME; GNUPGHOME=$(mktemp -d)
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
rm -f -- *.asc *.sig *.sums *.zip

# gpg at a time in the past, such as `2021 --sign file`.
at() { gpg --quiet --batch --yes --pinentry-mode loopback --passphrase '' --faked-system-time "${1}0101T000000!" "${@:2}"; }
# The fingerprint of a user's key, or of its nth subkey.
key() { gpg --batch --with-colons --list-keys "$1" | awk -F: '$1 == "fpr" {print $10}' | sed -n "$((${2:-0} + 1))p"; }
export_key() { gpg --batch --armor --export "$1"; }

# The vendor signs with its key or with its first subkey; the second one is for encryption.
at 2020 --quick-generate-key 'Vendor <vendor@example.com>' ed25519 sign never
vendor=$(key Vendor)
at 2020 --quick-add-key "$vendor" ed25519 sign never
at 2020 --quick-add-key "$vendor" cv25519 encr never
subkey=$(key Vendor 1)
at 2020 --quick-generate-key 'Other <other@example.com>' ed25519 sign never
export_key Vendor >vendor.asc
export_key Other >other.asc

# Archives, the same bytes each time: the release; names that lead out of the folder; a link in place of the program.
python3 - <<'PYTHON'
import struct, zipfile
def write(archive, members):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            zip.writestr(info, content, zipfile.ZIP_DEFLATED)
program = b"".join(struct.pack("<I", n // 100 * 2654435761 % 2**32) for n in range(100_000))
write("release.zip", [("LICENSE", b"free", 0o100644), ("consul", program, 0o100755)])
write("names.zip", [(name, b"evil", 0o100755) for name in ("../../../consul", "/tmp/consul", "../consul")])
write("link.zip", [("consul", b"/etc/passwd", 0o120777)])
PYTHON

none=$(printf '0%.0s' {1..64})
list() { printf '%s  other.zip\n%s  consul_1.0.zip\n' "$none" "$(sha256sum <"$1" | cut -d ' ' -f 1)"; }
for archive in release names link; do list $archive.zip >$archive.sums; done
printf '%s  other.zip\n' "$none" >lacking.sums

# YEAR SIGNER LIST NAME [OPTIONS]: a detached signature; `!` chooses exactly that key or subkey.
sign() { at "$1" "${@:5}" --local-user "$2!" --output "$4" --detach-sign "$3"; }
for archive in release names link; do sign 2021 "$vendor" $archive.sums $archive.sig; done
sign 2021 "$vendor" lacking.sums lacking.sig --digest-algo SHA512
sign 2021 "$subkey" release.sums subkey.sig
sign 2021 "$subkey" release.sums subkey.sig.asc --armor
sign 2021 "$(key Other)" release.sums other.sig
sign 2021 "$vendor" release.sums weak.sig --digest-algo SHA1
sign 2021 "$vendor" release.sums sha224.sig --digest-algo SHA224
sign 2021 "$vendor" release.sums expired.sig --default-sig-expire 1y
sign 2023 "$vendor" release.sums 2023.sig
sign 2021 "$vendor" release.sums text.sig --textmode

# The vendor's key as it might have become: expired in 2022; with a subkey that is revoked, or expired; revoked; both.
cp -r "$GNUPGHOME" "$GNUPGHOME.saved"
restore() { gpgconf --kill all; rm -rf "$GNUPGHOME"; cp -r "$GNUPGHOME.saved" "$GNUPGHOME"; }
revoke() { # NAME [COMMAND]: revokes the key, or what an edit command chose before
  printf '%s\n' "${@:3}" "$1" y 0 '' y save | at 2022 --no-batch --no-tty --command-fd 0 --status-fd 2 --edit-key "$vendor" 2>"$GNUPGHOME/log" || { cat "$GNUPGHOME/log"; exit 1; }
  export_key "$vendor" >"$2"; }
at 2021 --quick-set-expire "$vendor" 1y
export_key Vendor >expired.asc
revoke revkey expired-and-revoked.asc
restore
at 2021 --quick-set-expire "$vendor" 1y "$subkey"
export_key Vendor >subkey-expired.asc
restore
revoke revkey revoked.asc
restore
revoke revkey subkey-revoked.asc 'key 1'
restore
# A signature by a key that may only certify.
printf '%s\n' change-usage s q save | at 2022 --no-batch --no-tty --command-fd 0 --status-fd 2 --expert --edit-key "$vendor" 2>"$GNUPGHOME/log" || { cat "$GNUPGHOME/log"; exit 1; }
export_key Vendor >certifies.asc
rm -rf "$GNUPGHOME.saved"
