//! Python's `random.Random`: a seed chooses the same values (a minute for cron, a password) as with Ansible.
//!
//! The generator is MT19937, seeded like CPython: integers by their 32-bit words, text by its bytes and their SHA-512.

use rand::Rng;
use rand::rngs::StdRng;
use sha2::Digest;

use crate::data::Data;
use crate::python;

const N: usize = 624;
const M: usize = 397;

/// Source of randomness: the operating system, or a seed.
pub(crate) enum Random {
    System(Box<StdRng>),
    Seeded(Box<Twister>),
}

/// The state of MT19937.
pub(crate) struct Twister {
    words: [u32; N],
    /// The next word to return.
    at: usize,
}

impl Random {
    /// Seeded if there is a seed; otherwise from `system`.
    pub(crate) fn of(seed: Option<&Data>, system: impl FnOnce() -> StdRng) -> Self {
        match seed {
            None | Some(Data::Null) => Self::System(Box::new(system())),
            Some(Data::Int(number)) => Self::integer(*number),
            Some(Data::Bool(truth)) => Self::integer(i64::from(*truth)),
            // Python's hash of a whole number is the number.
            Some(Data::Float(number)) if number.fract() == 0.0 && number.abs() < 2_f64.powi(53) => Self::integer(*number as i64),
            Some(other) => Self::text(&python::str_of(other)),
        }
    }

    fn integer(seed: i64) -> Self {
        let size = seed.unsigned_abs();
        let mut key = vec![size as u32];
        if size >> 32 != 0 {
            key.push((size >> 32) as u32);
        }
        Self::Seeded(Box::new(Twister::new(&key)))
    }

    /// Seeded by a text.
    pub(crate) fn text(seed: &str) -> Self {
        let mut bytes = seed.as_bytes().to_vec();
        bytes.extend(sha2::Sha512::digest(seed.as_bytes()));
        // The bytes are one big-endian number, without leading zeros.
        let mut key: Vec<u32> = bytes.rchunks(4).map(|chunk| chunk.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte))).collect();
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        Self::Seeded(Box::new(Twister::new(&key)))
    }

    fn word(&mut self) -> u32 {
        match self {
            Self::System(generator) => generator.next_u32(),
            Self::Seeded(twister) => twister.word(),
        }
    }

    /// A number of at most 64 bits.
    fn bits(&mut self, count: u32) -> u64 {
        if count <= 32 {
            return if count == 0 { 0 } else { u64::from(self.word() >> (32 - count)) };
        }
        let low = u64::from(self.word());
        low | (u64::from(self.word() >> (64 - count)) << 32)
    }

    /// A number from 0 up to, but not including, `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let count = 64 - limit.leading_zeros();
        loop {
            let number = self.bits(count);
            if number < limit {
                return number;
            }
        }
    }

    /// A random item; none if the list is empty.
    pub(crate) fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

impl Twister {
    /// `init_by_array` of the reference implementation.
    fn new(key: &[u32]) -> Self {
        let mut words = [0_u32; N];
        words[0] = 19_650_218;
        for at in 1..N {
            words[at] = 1_812_433_253_u32.wrapping_mul(words[at - 1] ^ (words[at - 1] >> 30)).wrapping_add(at as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = (words[i - 1] ^ (words[i - 1] >> 30)).wrapping_mul(1_664_525);
            words[i] = (words[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            j += 1;
            if i >= N {
                words[0] = words[N - 1];
                i = 1;
            }
            if j >= key.len() {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            let mixed = (words[i - 1] ^ (words[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            words[i] = (words[i] ^ mixed).wrapping_sub(i as u32);
            i += 1;
            if i >= N {
                words[0] = words[N - 1];
                i = 1;
            }
        }
        words[0] = 0x8000_0000;
        Self { words, at: N }
    }

    fn word(&mut self) -> u32 {
        if self.at >= N {
            for k in 0..N {
                let y = (self.words[k] & 0x8000_0000) | (self.words[(k + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[k] = self.words[(k + M) % N] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that CPython 3.11 produces.
    #[test]
    fn seeds_choose_as_in_python() {
        let chosen = |seed: Data, limit| Random::of(Some(&seed), || panic!("there is a seed")).below(limit);
        assert_eq!(chosen(Data::str("h1"), 59), 32);
        assert_eq!(chosen(Data::str("h2"), 59), 28);
        assert_eq!(chosen(Data::Int(5), 60), 39);
        let mut list = [1, 2, 3, 4];
        Random::text("t1").shuffle(&mut list);
        assert_eq!(list, [4, 1, 2, 3]);
        assert_eq!(Random::text("t1").choice(&[1, 2, 3, 4, 5]), Some(&3));
    }
}
