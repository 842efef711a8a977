//! A hash that is the same on every machine and in every version; addresses are derived from it.

/// 64 bits of the parts, each terminated by a zero byte: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), mixed by MurmurHash3's
/// finalizer so that every bit depends on every byte.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccdu64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_changes() {
        // Addresses of existing labs depend on these values.
        assert_eq!(hash(&["demo"]), 12359560422899563796);
        assert_eq!(hash(&["demo", "client1"]), 3651391356346861831);
        assert_ne!(hash(&["a", "b"]), hash(&["ab", ""]));
    }
}
