//! Fibonacci numbers, as far as 128 bits hold them.

/// The largest index whose number fits 128 bits: F(186) = 3.3e38, F(187) = 5.4e38 > 2^128.
pub const LARGEST: u32 = 186;

/// F(n) with F(0) = 0 and F(1) = 1; none beyond [`LARGEST`].
pub fn fibonacci(n: u32) -> Option<u128> {
    let (mut current, mut next) = (0u128, Some(1u128));
    for _ in 0..n {
        let following = next.and_then(|next| next.checked_add(current));
        current = next?;
        next = following;
    }
    Some(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (n, value) in [(0, 0), (1, 1), (2, 1), (3, 2), (20, 6765), (93, 12_200_160_415_121_876_738), (94, 19_740_274_219_868_223_167)] {
            assert_eq!(fibonacci(n), Some(value), "F({n})");
        }
    }

    #[test]
    fn the_bound_is_exact() {
        assert_eq!(fibonacci(LARGEST), Some(332_825_110_087_067_562_321_196_029_789_634_457_848));
        assert_eq!(fibonacci(LARGEST + 1), None);
        assert_eq!(fibonacci(u32::MAX), None);
    }
}
