//! Loose comparison of version numbers, like Python's `LooseVersion`, which Ansible's `version` test uses.

use std::cmp::Ordering;

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Number(u64),
    Word(String),
}

fn parts(text: &str) -> Vec<Part> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_ascii_digit() {
            let mut digits = String::new();
            while let Some(&d) = chars.peek().filter(|d| d.is_ascii_digit()) {
                digits.push(d);
                chars.next();
            }
            out.push(digits.parse().map_or(Part::Word(digits), Part::Number));
        } else if c.is_ascii_lowercase() {
            let mut word = String::new();
            while let Some(&d) = chars.peek().filter(|d| d.is_ascii_lowercase()) {
                word.push(d);
                chars.next();
            }
            out.push(Part::Word(word));
        } else {
            chars.next();
            if c != '.' {
                let mut word = String::from(c);
                while let Some(&d) = chars.peek().filter(|d| **d != '.' && !d.is_ascii_digit() && !d.is_ascii_lowercase()) {
                    word.push(d);
                    chars.next();
                }
                out.push(Part::Word(word));
            }
        }
    }
    out
}

fn compare(a: &str, b: &str) -> Result<Ordering, String> {
    let (left, right) = (parts(a), parts(b));
    for (x, y) in left.iter().zip(&right) {
        let order = match (x, y) {
            (Part::Number(x), Part::Number(y)) => x.cmp(y),
            (Part::Word(x), Part::Word(y)) => x.cmp(y),
            _ => {
                return Err(format!("Version comparison failed: '{a}' and '{b}' differ in kind"));
            }
        };
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(left.len().cmp(&right.len()))
}

/// Whether `a OPERATOR b`, with Ansible's operator names.
///
/// # Errors
/// An unknown operator, an empty version, or versions that cannot be compared.
pub(crate) fn holds(a: &str, b: &str, operator: &str) -> Result<bool, String> {
    if a.is_empty() {
        return Err("Input version value cannot be empty".to_owned());
    }
    if b.is_empty() {
        return Err("Version parameter to compare against cannot be empty".to_owned());
    }
    judge(compare(a, b)?, operator)
}

/// The same with Python's `StrictVersion`: two or three numbers, then optionally `a` or `b` and a number. `2.0` equals `2.0.0`.
///
/// # Errors
/// As [`holds`], and for a text that is not such a version.
pub(crate) fn holds_strictly(a: &str, b: &str, operator: &str) -> Result<bool, String> {
    judge(strict(a)?.cmp(&strict(b)?), operator)
}

/// Numbers, then the pre-release: whether there is none, its letter, its number. A version without one sorts after those with one.
type Strict = ([u64; 3], (bool, char, u64));

fn strict(text: &str) -> Result<Strict, String> {
    let bad = || format!("Version comparison failed: invalid version number '{text}'");
    let (numbers, pre) = match text.find(['a', 'b']) {
        Some(at) => (&text[..at], Some((text[at..].chars().next().unwrap_or('a'), &text[at + 1..]))),
        None => (text, None),
    };
    let numbers = numbers.split('.').map(|part| part.parse::<u64>().map_err(|_| bad())).collect::<Result<Vec<_>, _>>()?;
    let numbers = match numbers[..] {
        [major, minor] => [major, minor, 0],
        [major, minor, patch] => [major, minor, patch],
        _ => return Err(bad()),
    };
    let pre = match pre {
        Some((letter, number)) => (false, letter, number.parse().map_err(|_| bad())?),
        None => (true, ' ', 0),
    };
    Ok((numbers, pre))
}

fn judge(order: Ordering, operator: &str) -> Result<bool, String> {
    Ok(match operator {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => {
            return Err(format!("Invalid operator type ({other}). Must be one of ==, =, eq, !=, <>, ne, <, lt, <=, le, >, gt, >=, ge"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (a, op, b) in
            [("1.10", ">", "1.9"), ("2.0.0", "ge", "2.0"), ("1.2", "<", "1.2.1"), ("12.04", "==", "12.4"), ("1.5.2b2", "lt", "1.5.2c")]
        {
            assert!(holds(a, b, op).unwrap(), "{a} {op} {b}");
        }
        assert!(holds_strictly("2.0", "2.0.0", "eq").unwrap() && holds_strictly("1.0a1", "1.0", "<").unwrap());
        assert!(holds_strictly("1.2.3.4", "1.0", "eq").is_err());
        assert!(holds("1", "1", "~").is_err());
        assert!(holds("1.a", "1.1", "lt").is_err());
    }
}
