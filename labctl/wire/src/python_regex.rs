//! Python's regular expressions (`re`), on top of fancy-regex: the patterns in module arguments and template filters.

use fancy_regex::{Captures, Regex};

/// Flags of Python's `re`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// `re.IGNORECASE`.
    pub ignore_case: bool,
    /// `re.MULTILINE`.
    pub multiline: bool,
    /// `re.DOTALL`.
    pub dot_all: bool,
}

/// Compiles a pattern in Python's syntax.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str, flags: Flags) -> Result<Regex, String> {
    let mut letters = String::new();
    for (letter, is_set) in [('i', flags.ignore_case), ('m', flags.multiline), ('s', flags.dot_all)] {
        if is_set {
            letters.push(letter);
        }
    }
    let prefix = if letters.is_empty() { String::new() } else { format!("(?{letters})") };
    let multiline = flags.multiline || own_flags(pattern).contains('m');
    Regex::new(&format!("{prefix}{}", translate(pattern, multiline)))
        .map_err(|why| format!("invalid regular expression '{pattern}': {why}"))
}

/// The flags that a pattern sets for all of itself: Python accepts them only at the very start.
fn own_flags(pattern: &str) -> &str {
    let flags = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')')).map_or("", |(flags, _)| flags);
    if flags.bytes().all(|letter| letter.is_ascii_alphabetic()) { flags } else { "" }
}

/// Converts what differs between the two syntaxes: `$` before a final newline, braces that are not counters, brackets and doubled
/// characters in classes, `\Z`, `\<`, `\>`, octal numbers.
fn translate(pattern: &str, multiline: bool) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let mut text = String::with_capacity(pattern.len() + 8);
    let mut at = 0;
    let mut in_class = false;
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' => {
                match chars.get(at + 1) {
                    Some('Z') if !in_class => text.push_str("\\z"),
                    Some(c @ ('<' | '>')) => text.push(*c),
                    Some('0') => {
                        let digits: String = chars[at + 1..].iter().take(3).take_while(|c| ('0'..='7').contains(*c)).collect();
                        let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
                        text.push_str(&format!("\\x{code:02x}"));
                        at += 1 + digits.len();
                        continue;
                    }
                    Some(c) if !c.is_ascii() => text.push(*c),
                    Some(c) => text.extend(['\\', *c]),
                    // A lone backslash at the end is an error.
                    None => text.push('\\'),
                }
                at += 2;
                continue;
            }
            '[' if !in_class => {
                text.push('[');
                if chars.get(at + 1) == Some(&'^') {
                    text.push('^');
                    at += 1;
                }
                // A bracket right at the start is a member of the class.
                if chars.get(at + 1) == Some(&']') {
                    text.push_str("\\]");
                    at += 1;
                }
                in_class = true;
            }
            ']' if in_class => {
                text.push(']');
                in_class = false;
            }
            '[' => text.push_str("\\["),
            '&' | '~' if in_class => text.extend(['\\', c]),
            // Here two of them would subtract one class from another.
            '-' if in_class && chars.get(at + 1) == Some(&'-') => {
                if text.ends_with('[') || text.ends_with("[^") {
                    text.push_str("\\-");
                } else {
                    text.push_str("-\\-");
                    at += 1;
                }
            }
            '$' if !in_class && !multiline => text.push_str("(?=\\n?\\z)"),
            '{' if !in_class && !counts(&chars[at + 1..]) => text.push_str("\\{"),
            '}' if !in_class && !closes(&chars[..at]) => text.push_str("\\}"),
            c => text.push(c),
        }
        at += 1;
    }
    text
}

/// Whether the text after a brace makes it a counter.
fn counts(rest: &[char]) -> bool {
    match rest.iter().position(|c| *c == '}') {
        Some(end) if end > 0 => {
            let inner = &rest[..end];
            inner.iter().all(|c| c.is_ascii_digit() || *c == ',')
                && inner.iter().any(char::is_ascii_digit)
                && inner.iter().filter(|c| **c == ',').count() <= 1
        }
        _ => false,
    }
}

fn closes(before: &[char]) -> bool {
    match before.iter().rposition(|c| *c == '{') {
        Some(open) => {
            let mut inner = before[open + 1..].to_vec();
            inner.push('}');
            (open == 0 || before[open - 1] != '\\') && counts(&inner)
        }
        None => false,
    }
}

/// Expands a replacement for a match of the pattern: `\1`, `\g<1>`, `\g<name>`, `\n`, octal numbers.
///
/// # Errors
/// A group that the pattern does not have, or an escape that Python does not know.
pub fn expand(regex: &Regex, replacement: &str, captures: &Captures<'_, str>) -> Result<String, String> {
    let mut text = String::with_capacity(replacement.len());
    let numbered = |number: usize| match number < captures.len() {
        true => Ok(captures.get(number).map_or("", |found| found.as_str())),
        false => Err(format!("invalid group reference {number}")),
    };
    let octal = |digits: &str| match u32::from_str_radix(digits, 8) {
        Ok(code @ 0..=0o377) => char::from_u32(code).ok_or_else(String::new),
        _ => Err(format!("octal escape value \\{digits} outside of range 0-0o377")),
    };
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('g') => {
                if chars.next_if_eq(&'<').is_none() {
                    return Err("missing <".to_owned());
                }
                let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                match name.parse() {
                    Ok(number) => text.push_str(numbered(number)?),
                    Err(_) => {
                        let known = regex.capture_names().flatten().any(|known| known == name);
                        known.then_some(()).ok_or_else(|| format!("unknown group name '{name}'"))?;
                        text.push_str(captures.name(&name).map_or("", |found| found.as_str()));
                    }
                }
            }
            Some('0') => {
                let mut digits = String::from("0");
                while digits.len() < 3
                    && let Some(digit) = chars.next_if(|c| ('0'..='7').contains(c))
                {
                    digits.push(digit);
                }
                text.push(octal(&digits)?);
            }
            Some(first) if first.is_ascii_digit() => {
                let mut digits = String::from(first);
                digits.extend(chars.next_if(char::is_ascii_digit));
                let all_octal = digits.len() == 2 && digits.chars().all(|c| ('0'..='7').contains(&c));
                match chars.next_if(|c| all_octal && ('0'..='7').contains(c)) {
                    Some(third) => {
                        digits.push(third);
                        text.push(octal(&digits)?);
                    }
                    None => text.push_str(numbered(digits.parse().map_err(|_| format!("invalid group reference {digits}"))?)?),
                }
            }
            Some('a') => text.push('\u{7}'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('v') => text.push('\u{b}'),
            Some('\\') => text.push('\\'),
            Some(c) if c.is_ascii_alphabetic() => return Err(format!("bad escape \\{c}")),
            Some(c) => text.extend(['\\', c]),
            None => return Err("bad escape (end of pattern)".to_owned()),
        }
    }
    Ok(text)
}

/// Replaces all matches, or the first `most`; returns the text and the number of replacements (Python's `re.subn`).
///
/// # Errors
/// A replacement that [`expand`] rejects, or a search that exceeds its limit (catastrophic backtracking).
pub fn replace(regex: &Regex, text: &str, replacement: &str, most: usize) -> Result<(String, usize), String> {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut count) = (0, 0);
    for captures in regex.captures_iter(text).take(most) {
        let captures = captures.map_err(|why| why.to_string())?;
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[copied..whole.start()]);
        out.push_str(&expand(regex, replacement, &captures)?);
        copied = whole.end();
        count += 1;
    }
    out.push_str(&text[copied..]);
    Ok((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11's `re.sub(pattern, replacement, text, flags=...)` returns; none if it raises an error.
    const PYTHON: &[(&str, &str, &str, &str, Option<&str>)] = &[
        ("^#?{{ x }}", "{{ x }}", r"[\g<0>]", "", Some("[{{ x }}]")),
        (r"a{2,3}\Z", "aaa", "b", "", Some("b")),
        (r"[[\]]x", "[x", "y", "", Some("y")),
        ("[]a]", "]", "y", "", Some("y")),
        ("[^]a]", "b]", "y", "", Some("y]")),
        (r"\<b\>", "<b>", "y", "", Some("y")),
        (r"(?P<q>['\042])x(?P=q)", "'x'", r"\g<q>y\g<q>", "", Some("'y'")),
        (r"^(?!#)\s*Port", "Port 22", r"#\g<0>", "", Some("#Port 22")),
        (r"(?i)^port\b", "PORT 1", "x", "", Some("x 1")),
        (r"[\w.-]+@[^\s@]+", "a.b@c", "x", "", Some("x")),
        (r"foo\-bar\/\%", "foo-bar/%", "x", "", Some("x")),
        ("b$", "a b\n", "X", "", Some("a X\n")),
        ("b$", "b\nb\n", "X", "", Some("b\nX\n")),
        ("b$", "b\nb\n", "X", "m", Some("X\nX\n")),
        ("(?m)^b$", "b\nb\n", "X", "", Some("X\nX\n")),
        ("(?im)^B$", "b\nb\n", "X", "", Some("X\nX\n")),
        (r"b\Z", "b\n", "X", "", Some("b\n")),
        ("a.c", "a\nc", "X", "", Some("a\nc")),
        ("a.c", "a\nc", "X", "s", Some("X")),
        ("A", "a", "X", "i", Some("X")),
        (r"(\w+)=(\d+)", "k=1", r"\2=\1", "", Some("1=k")),
        ("(a)|(b)", "ab", r"<\1\2>", "", Some("<a><b>")),
        ("a", "a", r"\n\t\\", "", Some("\n\t\\")),
        ("a", "a", r"\0", "", Some("\0")),
        ("a", "a", r"\101", "", Some("A")),
        ("a", "a", r"\061x", "", Some("1x")),
        ("(a)", "a", r"\18", "", None),
        ("a", "a", r"\1", "", None),
        ("a", "a", r"\g<nope>", "", None),
        ("a", "a", r"\q", "", None),
        ("a", "a", r"\-", "", Some("\\-")),
        ("a", "a", r"x\", "", None),
        ("[a-z&&[b]]", "b]", "X", "", Some("X")),
        ("[a~~b]", "~", "X", "", Some("X")),
        ("[!--]", "#", "X", "", Some("X")),
        ("[--/]", ".", "X", "", Some("X")),
        ("x{,2}y", "xxy", "X", "", Some("X")),
        ("{a}", "{a}", "X", "", Some("X")),
        ("a{b}", "a{b}", "X", "", Some("X")),
        (r"é\ß", "éß", "X", "", Some("X")),
        ("$", "a\n", "X", "", Some("aX\nX")),
        ("[$]", "$", "X", "", Some("X")),
        (r"\$", "$", "X", "", Some("X")),
    ];

    #[test]
    fn substitutes_as_python_does() {
        for (pattern, text, replacement, flags, expected) in PYTHON {
            let has = |flag| flags.contains(flag);
            let flags = Flags { ignore_case: has('i'), multiline: has('m'), dot_all: has('s') };
            let given = compile(pattern, flags).and_then(|regex| replace(&regex, text, replacement, usize::MAX));
            assert_eq!(given.as_ref().ok().map(|(text, _)| text.as_str()), *expected, "{pattern} in {text:?} by {replacement}: {given:?}");
        }
    }
}
