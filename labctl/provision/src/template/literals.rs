//! String literals: translates Python's escapes for minijinja.

/// Writes a string literal that minijinja reads as Python would.
pub(super) fn literal(text: &str, raw: bool, out: &mut String) {
    let quote = text.chars().next().unwrap_or('\'');
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if raw {
        // Ansible doubles every backslash before Jinja reads the literal, so all of them are kept.
        quoted(inner, quote, out);
    } else {
        quoted(&unescape(inner), quote, out);
    }
}

fn quoted(content: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in content.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Python's escapes in string literals; unknown ones are kept.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(kind) = chars.next() else {
            out.push('\\');
            break;
        };
        match kind {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            '\\' | '\'' | '"' => out.push(kind),
            '\n' => {}
            'x' => code_point(&mut chars, 2, kind, &mut out),
            'u' => code_point(&mut chars, 4, kind, &mut out),
            'U' => code_point(&mut chars, 8, kind, &mut out),
            '0'..='7' => {
                let mut value = kind.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    chars.next();
                }
                out.extend(char::from_u32(value));
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out
}

fn code_point(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, digits: usize, kind: char, out: &mut String) {
    let ahead: String = chars.clone().take(digits).collect();
    match u32::from_str_radix(&ahead, 16).ok().filter(|_| ahead.len() == digits).and_then(char::from_u32) {
        Some(c) => {
            out.push(c);
            for _ in 0..digits {
                chars.next();
            }
        }
        None => {
            out.push('\\');
            out.push(kind);
        }
    }
}
