//! How a plain scalar is resolved: the implicit resolvers and constructors of PyYAML 6 (`yaml/resolver.py`, `yaml/constructor.py`), which
//! Ansible uses to load its files. Timestamps stay text.

use super::Resolved;

/// Resolves an unquoted scalar.
pub(super) fn resolve(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Resolved::Str;
    }
    // Float is tried first, as in PyYAML, where the order of the resolvers decides; no text matches both.
    float(text).map(Resolved::Float).or_else(|| int(text).map(Resolved::Int)).unwrap_or(Resolved::Str)
}

/// The sign, and the text after it.
fn signed(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// Whether the text starts with a character of the first class and continues with the second.
fn made_of(text: &str, first: fn(&char) -> bool, then: fn(&char) -> bool) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| first(&c)) && chars.all(|c| then(&c))
}

fn digit(c: &char) -> bool {
    c.is_ascii_digit()
}

fn digit_or_underscore(c: &char) -> bool {
    c.is_ascii_digit() || *c == '_'
}

/// A whole number; `None` if the text is not one or does not fit in 128 bits.
pub(super) fn int(text: &str) -> Option<i128> {
    let (negative, body) = signed(text);
    let plain = body.replace('_', "");
    let magnitude = if let Some(bits) = body.strip_prefix("0b") {
        radix(bits, &plain[2..], 2)?
    } else if let Some(hex) = body.strip_prefix("0x") {
        radix(hex, &plain[2..], 16)?
    } else if body == "0" {
        0
    } else if let Some(octal) = body.strip_prefix('0') {
        if !octal.chars().all(|c| matches!(c, '0'..='7' | '_')) {
            return None;
        }
        i128::from_str_radix(&plain, 8).ok()?
    } else if body.contains(':') {
        sexagesimal_int(body)?
    } else {
        if !made_of(body, digit, digit_or_underscore) {
            return None;
        }
        plain.parse().ok()?
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn radix(written: &str, digits: &str, radix: u32) -> Option<i128> {
    // `from_str_radix` would accept a sign.
    let good = !written.is_empty() && written.chars().all(|c| c == '_' || c.is_digit(radix));
    if good { i128::from_str_radix(digits, radix).ok() } else { None }
}

/// `1:30` is 90: minutes and seconds, or hours, minutes and seconds.
fn sexagesimal_int(body: &str) -> Option<i128> {
    let mut parts = body.split(':');
    let first = parts.next()?;
    if !made_of(first, |c| matches!(c, '1'..='9'), digit_or_underscore) {
        return None;
    }
    let first = first.replace('_', "").parse().ok()?;
    parts.try_fold(first, |sum: i128, part| sum.checked_mul(60)?.checked_add(i128::from(sixty(part)?)))
}

/// A sexagesimal digit, `[0-5]?[0-9]`.
fn sixty(part: &str) -> Option<u8> {
    let good = matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    if good { part.parse().ok() } else { None }
}

/// A number with a dot; `None` if the text is not one.
pub(super) fn float(text: &str) -> Option<f64> {
    let (negative, body) = signed(text);
    let sign = if negative { -1.0 } else { 1.0 };
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (whole, rest) = body.split_once('.')?;
    if whole.contains(':') {
        return sexagesimal_float(whole, rest).map(|value| sign * value);
    }
    // The exponent needs a sign: `1.5e3` is text.
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['-', '+'])?;
        if !made_of(digits, digit, digit) {
            return None;
        }
    }
    let good = if whole.is_empty() {
        // Only an unsigned number may start with a dot.
        body.len() == text.len() && made_of(fraction, digit, digit_or_underscore)
    } else {
        made_of(whole, digit, digit_or_underscore) && fraction.chars().all(|c| digit_or_underscore(&c))
    };
    if good { body.replace('_', "").parse::<f64>().ok().map(|value| sign * value) } else { None }
}

fn sexagesimal_float(whole: &str, fraction: &str) -> Option<f64> {
    if !fraction.chars().all(|c| digit_or_underscore(&c)) {
        return None;
    }
    let mut parts = whole.split(':');
    let first = parts.next()?;
    if !made_of(first, digit, digit_or_underscore) {
        return None;
    }
    let first: f64 = first.replace('_', "").parse().ok()?;
    let whole = parts.try_fold(first, |sum, part| Some(sum * 60.0 + f64::from(sixty(part)?)))?;
    let fraction = format!("0.{}", fraction.replace('_', ""));
    Some(whole + fraction.parse::<f64>().ok()?)
}
