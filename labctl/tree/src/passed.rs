//! How far a copy is.

use labctl_wire::tree::What;

/// How much of the wanted content has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes of all that is wanted, by its sizes in the manifest; not known if it comes from a pipe.
    pub total: Option<u64>,
}

impl Passed {
    /// Nothing of these yet.
    pub(crate) fn none_of<'a>(wanted: impl Iterator<Item = &'a What>) -> Self {
        let mut sizes = wanted.map(|what| matches!(what, What::File { .. }).then(|| size(what)));
        // A guest may say anything.
        let total = sizes.try_fold(0_u64, |sum, size| Some(sum.saturating_add(size?)));
        Self { bytes: 0, total }
    }
}

/// Bytes of content, as far as the manifest says.
pub(crate) fn size(what: &What) -> u64 {
    if let What::File { size, .. } = what { *size } else { 0 }
}
