//! The encoding of password hashes (crypt(5)): 64 characters, six bits each, lowest bits first.

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends the lowest bits of a word as `count` characters.
pub fn push(word: u32, count: usize, text: &mut String) {
    for place in 0..count {
        text.push(char::from(LETTERS[(word >> (6 * place)) as usize & 63]));
    }
}

/// A salt: one character per random byte.
pub fn salt(random: &[u8]) -> String {
    random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect()
}

/// Whether a text consists only of these characters.
pub fn is_written_so(text: &str) -> bool {
    text.bytes().all(|byte| LETTERS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bits_come_first() {
        let mut text = String::new();
        push(0b11_1111 | 1 << 6 | 2 << 12, 4, &mut text);
        assert_eq!(text, "z/0.");
        assert_eq!(salt(&[0, 63, 64, 255]), ".z.z");
        assert!(is_written_so("rqXexS6ZhobKA") && !is_written_so("a b"));
    }
}
