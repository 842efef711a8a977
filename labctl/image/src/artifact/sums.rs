//! Checksum lists in the format of sha256sum(1).

/// The SHA-256 that a list has for `name`, in lower-case hex.
pub(super) fn find(list: &str, name: &str) -> Option<String> {
    list.lines().find_map(|line| {
        let (sum, rest) = line.trim().split_once(char::is_whitespace)?;
        // A star marks a file that was read in binary mode.
        let file = rest.trim_start();
        let file = file.strip_prefix('*').unwrap_or(file);
        let file = file.strip_prefix("./").unwrap_or(file);
        let sum = sum.to_ascii_lowercase();
        let good = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
        (good && file == name).then_some(sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_in_every_form_and_no_others() {
        let (a, b, c) = ("A".repeat(64), "b".repeat(64), "c".repeat(64));
        let list = format!("{a}  one.zip\n{b} *two.zip\nshort  three.zip\n{c}  ./four.zip\n");
        assert_eq!(find(&list, "one.zip"), Some("a".repeat(64)));
        assert_eq!(find(&list, "two.zip"), Some(b));
        assert_eq!(find(&list, "three.zip"), None);
        assert_eq!(find(&list, "four.zip"), Some(c));
        assert_eq!(find(&list, "ne.zip"), None);
    }
}
