//! A vendor's signed release. The checksum list and its signature are fetched, the signature is verified with the
//! pinned key, the archive is checked against the list, and only then is the program extracted.

use std::fs;

use labctl_spec::artifact::ReleaseSource;

use super::error::Failure;
use super::signature::{self, GPGV};
use super::{Wanted, archive, sums};
use crate::checksum::Checksum;
use crate::download::{Download, fetch_small};
use crate::missing::need;
use crate::progress::Event;

pub(super) fn fetch(wanted: &Wanted<'_>, source: &ReleaseSource) -> Result<(), Failure> {
    let key_path = wanted.base.join(&source.key);
    let key = fs::read_to_string(&key_path)
        .map_err(|error| Failure::Source(format!("the pinned key {} cannot be read: {error}", key_path.display())))?;
    let base = wanted.fill(&source.base);
    let url = |file: &str| format!("{}/{}", base.trim_end_matches('/'), wanted.fill(file));

    wanted.progress.event(Event::Step(format!("contacting {base}")));
    let list_url = url(&source.checksums);
    let list = fetch_small(&list_url, wanted.outside)?;
    let signed = fetch_small(&url(&source.signature), wanted.outside)?;
    need(&GPGV)?;
    let signer = signature::verify(&list, &signed, &key, &wanted.folder.join("signature"))
        .map_err(|why| Failure::Source(format!("{list_url} is not signed by the pinned key {}: {why}", key_path.display())))?;
    wanted.progress.event(Event::Note(format!("{list_url} is signed by {signer}")));

    let archive_name = wanted.fill(&source.archive);
    let sum = sums::find(&String::from_utf8_lossy(&list), &archive_name)
        .ok_or_else(|| Failure::Source(format!("{list_url} does not list {archive_name}")))?;
    let packed = wanted.folder.join("archive");
    let download = Download {
        url: &url(&source.archive),
        checksum: &Checksum::Sha256(sum),
        root: wanted.root,
        key: &wanted.key,
        outside: wanted.outside,
    };
    download.fetch(&packed, wanted.progress)?;

    let member = source.member.as_deref().map_or_else(|| wanted.artifact.name.clone(), |member| wanted.fill(member));
    archive::extract(&packed, &archive_name, &member, &wanted.to)
}
