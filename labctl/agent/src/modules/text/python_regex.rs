//! Python's regular expressions (`re`) on top of fancy-regex.

use fancy_regex::{Captures, Regex};

use crate::modules::call::outcome::Fault;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles Python's syntax.
    pub(crate) fn new(pattern: &str) -> Result<Self, Fault> {
        Self::with_flags(pattern, "")
    }

    /// Likewise, with flags such as `m` (`re.MULTILINE`) or `s` (`re.DOTALL`).
    pub(crate) fn with_flags(pattern: &str, flags: &str) -> Result<Self, Fault> {
        let translated = translate(pattern);
        let full = if flags.is_empty() { translated } else { format!("(?{flags}){translated}") };
        let regex = Regex::new(&full).map_err(|err| Fault::from(format!("invalid regular expression '{pattern}': {err}")))?;
        Ok(Self { regex })
    }

    /// Whether it is found anywhere; a search that goes astray (catastrophic backtracking) counts as not found.
    pub(crate) fn found(&self, text: &str) -> bool {
        self.regex.is_match(text).unwrap_or(false)
    }

    /// The first match with its groups.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t, str>> {
        self.regex.captures(text).ok().flatten()
    }

    /// All matches replaced; the text and how many there were (Python's `re.subn`).
    pub(crate) fn replace_all(&self, text: &str, template: &str) -> Result<(String, usize), Fault> {
        let mut result = String::with_capacity(text.len());
        let (mut copied, mut count) = (0, 0);
        for captures in self.regex.captures_iter(text) {
            let captures = captures.map_err(|err| Fault::from(format!("Unable to process replace due to error: {err}")))?;
            let Some(whole) = captures.get(0) else {
                continue;
            };
            result.push_str(&text[copied..whole.start()]);
            result.push_str(&expand(template, &captures)?);
            copied = whole.end();
            count += 1;
        }
        result.push_str(&text[copied..]);
        Ok((result, count))
    }
}

/// Python's replacement templates: `\1`, `\g<1>`, `\g<name>`, `\n`, `\t`, `\\`.
pub(crate) fn expand(template: &str, captures: &Captures<'_, str>) -> Result<String, Fault> {
    let mut text = String::with_capacity(template.len());
    let group = |name: &str| match name.parse::<usize>() {
        Ok(number) if number < captures.len() => Ok(captures.get(number)),
        Ok(number) => Err(Fault::from(format!("invalid group reference {number}"))),
        Err(_) => Ok(captures.name(name)),
    };
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('g') if chars.peek() == Some(&'<') => {
                chars.next();
                let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                text.push_str(group(&name)?.map_or("", |found| found.as_str()));
            }
            Some(digit) if digit.is_ascii_digit() => {
                let mut name = digit.to_string();
                if let Some(next) = chars.peek().copied().filter(char::is_ascii_digit) {
                    name.push(next);
                    chars.next();
                }
                text.push_str(group(&name)?.map_or("", |found| found.as_str()));
            }
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('\\') => text.push('\\'),
            Some(c) => {
                text.push('\\');
                text.push(c);
            }
            None => text.push('\\'),
        }
    }
    Ok(text)
}

/// Where the two syntaxes part: braces that are no counters, brackets in classes, `\Z`, `\<`, `\>`.
fn translate(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let mut text = String::with_capacity(pattern.len() + 8);
    let mut at = 0;
    let mut class: Option<usize> = None;
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' => {
                match chars.get(at + 1) {
                    Some('Z') if class.is_none() => text.push_str("\\z"),
                    Some(c @ ('<' | '>')) => text.push(*c),
                    Some('0') => {
                        let digits = chars[at + 1..].iter().take(3).take_while(|c| ('0'..='7').contains(*c));
                        let digits: String = digits.collect();
                        let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
                        text.push_str(&format!("\\x{code:02x}"));
                        at += 1 + digits.len();
                        continue;
                    }
                    Some(c) if !c.is_ascii() => text.push(*c),
                    Some(c) => {
                        text.push('\\');
                        text.push(*c);
                    }
                    None => text.push('\\'),
                }
                at += 2;
                continue;
            }
            '[' if class.is_none() => {
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
                class = Some(at);
            }
            ']' if class.is_some() => {
                text.push(']');
                class = None;
            }
            '[' => text.push_str("\\["),
            '&' | '~' if class.is_some() => {
                text.push('\\');
                text.push(c);
            }
            '-' if class.is_some() && chars.get(at + 1) == Some(&'-') => text.push_str("\\-"),
            '{' if class.is_none() && !counts(&chars[at + 1..]) => text.push_str("\\{"),
            '}' if class.is_none() && !closes(&chars[..at]) => text.push_str("\\}"),
            c => text.push(c),
        }
        at += 1;
    }
    text
}

/// Whether what follows a brace makes it a counter.
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

/// Bytes as a text: UTF-8, or byte for byte (Latin-1) so that nothing is lost. [`encode`] turns it back.
pub(crate) fn decode(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), true),
        Err(_) => (bytes.iter().map(|byte| char::from(*byte)).collect(), false),
    }
}

/// The bytes that [`decode`] made a text of, edited since.
pub(crate) fn encode(text: &str, utf8: bool) -> Vec<u8> {
    if utf8 {
        return text.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_oddities_compile() {
        for (pattern, text) in [
            ("^#?{{ x }}", "{{ x }}"),
            (r"a{2,3}\Z", "aaa"),
            (r"[[\]]x", "[x"),
            (r"[]a]", "]"),
            (r"\<b\>", "<b>"),
            (r"(?P<q>['\042])x(?P=q)", "'x'"),
            (r"^(?!#)\s*Port", "Port 22"),
            (r"(?i)^port\b", "PORT 1"),
            (r"[\w.-]+@[^\s@]+", "a.b@c"),
            (r"foo\-bar\/\%", "foo-bar/%"),
        ] {
            assert!(Pattern::new(pattern).unwrap().found(text), "{pattern}");
        }
    }

    #[test]
    fn replacement_templates() {
        let pattern = Pattern::with_flags(r"^(?P<k>\w+)=(\d+)$", "m").unwrap();
        let (text, count) = pattern.replace_all("a=1\nb=2\n", r"\g<k>: \2\\").unwrap();
        assert_eq!((text.as_str(), count), ("a: 1\\\nb: 2\\\n", 2));
        assert!(pattern.replace_all("a=1", r"\7").is_err());
    }

    #[test]
    fn wrong_utf8_survives() {
        let bytes = b"caf\xe9 \xff";
        let (text, utf8) = decode(bytes);
        assert_eq!(encode(&text, utf8), bytes);
    }
}
