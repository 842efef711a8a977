//! Python's printf formatting: `'%05.1f' % x`, the `format` filter, and `str.format()`.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::value::from_value;
use crate::data::Data;
use crate::python;

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `text % args[0]`, where a list or tuple supplies several values and a mapping named ones.
pub(crate) fn format(text: &str, args: &[Value]) -> Result<String, Error> {
    let operand = args.first().cloned().unwrap_or_default();
    let values = if operand.is_tuple() {
        operand.try_iter()?.map(|item| from_value(&item)).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![from_value(&operand)?]
    };
    apply(text, &values)
}

/// Converts each `%` with the values in order.
pub(crate) fn apply(text: &str, values: &[Data]) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut next = 0;
    let mut take = || -> Result<Data, Error> {
        let value = values.get(next).cloned().ok_or_else(|| bad("not enough arguments for format string"))?;
        next += 1;
        Ok(value)
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut named = None;
        if chars.peek() == Some(&'(') {
            chars.next();
            let key: String = chars.by_ref().take_while(|c| *c != ')').collect();
            named = Some(values.first().and_then(|map| map.get(&key)).cloned().ok_or_else(|| bad(format!("'{key}'")))?);
        }
        let mut spec = Spec::default();
        while let Some(&flag) = chars.peek() {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                _ => break,
            }
            chars.next();
        }
        if chars.peek() == Some(&'*') {
            chars.next();
            spec.width = integer(&take()?).unwrap_or(0).unsigned_abs() as usize;
        }
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            spec.width = spec.width.saturating_mul(10).saturating_add(digit as usize).min(100_000);
            chars.next();
        }
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut precision = 0_usize;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                precision = precision.saturating_mul(10).saturating_add(digit as usize).min(1000);
                chars.next();
            }
            spec.precision = Some(precision);
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(kind) => {
                let value = match named {
                    Some(value) => value,
                    None => take()?,
                };
                spec.kind = kind;
                if spec.align.is_none() {
                    spec.align = Some('>');
                }
                out.push_str(&spec.convert(&value)?);
            }
            None => return Err(bad("incomplete format")),
        }
    }
    Ok(out)
}

/// A conversion of printf or `str.format()`.
#[derive(Default)]
pub(crate) struct Spec {
    align: Option<char>,
    fill: Option<char>,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    comma: bool,
    width: usize,
    precision: Option<usize>,
    kind: char,
}

fn integer(value: &Data) -> Option<i64> {
    match value {
        Data::Int(value) => Some(*value),
        Data::Bool(value) => Some(i64::from(*value)),
        Data::Float(value) => Some(*value as i64),
        _ => None,
    }
}

fn number(value: &Data) -> Option<f64> {
    match value {
        Data::Int(value) => Some(*value as f64),
        Data::Bool(value) => Some(f64::from(u8::from(*value))),
        Data::Float(value) => Some(*value),
        _ => None,
    }
}

fn thousands(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (index, c) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && c.is_ascii_digit() && whole.as_bytes()[index - 1].is_ascii_digit() {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}

impl Spec {
    /// The text of a format specification: `[[fill]align][sign][#][0][width][,][.precision][type]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut spec = Self::default();
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        if chars.len() > 1 && matches!(chars[1], '<' | '>' | '^' | '=') {
            spec.fill = Some(chars[0]);
            spec.align = Some(chars[1]);
            at = 2;
        } else if matches!(chars.first(), Some('<' | '>' | '^' | '=')) {
            spec.align = Some(chars[0]);
            at = 1;
        }
        while let Some(c) = chars.get(at) {
            match c {
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '-' => {}
                '#' => spec.alternate = true,
                '0' if spec.width == 0 && spec.precision.is_none() => spec.zero = true,
                ',' | '_' => spec.comma = true,
                '.' => spec.precision = Some(0),
                c if c.is_ascii_digit() => {
                    let digit = c.to_digit(10).unwrap_or(0) as usize;
                    let target = spec.precision.as_mut().unwrap_or(&mut spec.width);
                    *target = target.saturating_mul(10).saturating_add(digit).min(100_000);
                }
                c if c.is_ascii_alphabetic() || *c == '%' => spec.kind = *c,
                _ => return Err(bad(format!("Invalid format specifier '{text}'"))),
            }
            at += 1;
        }
        Ok(spec)
    }

    pub(crate) fn convert(&self, value: &Data) -> Result<String, Error> {
        let need = |kind: &str| bad(format!("%{} format: a {kind} is required, not {}", self.kind, value.type_name()));
        let (text, numeric) = match self.kind {
            's' | '\0' if number(value).is_none() || self.kind == 's' => (python::str_of(value), false),
            '\0' => (python::str_of(value), true),
            'r' => (python::repr(value), false),
            'a' => (python::repr(value), false),
            'd' | 'i' | 'u' => (integer(value).ok_or_else(|| need("real number"))?.to_string(), true),
            'x' => (format!("{}{:x}", if self.alternate { "0x" } else { "" }, integer(value).ok_or_else(|| need("integer"))?), true),
            'X' => (format!("{}{:X}", if self.alternate { "0X" } else { "" }, integer(value).ok_or_else(|| need("integer"))?), true),
            'o' => (format!("{}{:o}", if self.alternate { "0o" } else { "" }, integer(value).ok_or_else(|| need("integer"))?), true),
            'b' => (format!("{}{:b}", if self.alternate { "0b" } else { "" }, integer(value).ok_or_else(|| need("integer"))?), true),
            'c' => (
                match value {
                    Data::Int(code) => u32::try_from(*code).ok().and_then(char::from_u32).map(String::from).unwrap_or_default(),
                    other => python::str_of(other),
                },
                false,
            ),
            'f' | 'F' => (format!("{:.*}", self.precision.unwrap_or(6), number(value).ok_or_else(|| need("real number"))?), true),
            '%' => (format!("{:.*}%", self.precision.unwrap_or(6), number(value).ok_or_else(|| need("real number"))? * 100.0), true),
            'e' | 'E' => {
                let text = format!("{:.*e}", self.precision.unwrap_or(6), number(value).ok_or_else(|| need("real number"))?);
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
                (format!("{mantissa}{}{sign}{digits:0>2}", self.kind), true)
            }
            'g' | 'G' | 'n' => {
                let value = number(value).ok_or_else(|| need("real number"))?;
                let rounded: f64 = format!("{:.*e}", self.precision.unwrap_or(6).max(1) - 1, value).parse().unwrap_or(value);
                let text = python::float(rounded);
                (text.strip_suffix(".0").unwrap_or(&text).to_owned(), true)
            }
            other => return Err(bad(format!("unsupported format character '{other}'"))),
        };
        let mut text = text;
        if !numeric {
            if let Some(precision) = self.precision {
                text = text.chars().take(precision).collect();
            }
        } else if !text.starts_with('-') && (self.plus || self.space) {
            text.insert(0, if self.plus { '+' } else { ' ' });
        }
        if self.comma {
            text = thousands(&text);
        }
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return Ok(text);
        }
        let zero = self.zero && numeric && self.align != Some('<');
        if zero {
            let sign = usize::from(text.starts_with(['-', '+', ' ']));
            text.insert_str(sign, &"0".repeat(missing));
            return Ok(text);
        }
        let fill = self.fill.unwrap_or(' ').to_string();
        Ok(match self.align.unwrap_or(if numeric { '>' } else { '<' }) {
            '<' => text + &fill.repeat(missing),
            '^' => format!("{}{text}{}", fill.repeat(missing / 2), fill.repeat(missing - missing / 2)),
            _ => fill.repeat(missing) + &text,
        })
    }
}

/// `text.format(*args, **kwargs)`
pub(crate) fn braces(text: &str, args: &[Value]) -> Result<String, Error> {
    let (named, positional): (Vec<&Value>, Vec<&Value>) = args.iter().partition(|arg| arg.is_kwargs());
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut auto = 0;
    while let Some(c) = chars.next() {
        match c {
            '{' if chars.peek() == Some(&'{') => {
                chars.next();
                out.push('{');
            }
            '}' if chars.peek() == Some(&'}') => {
                chars.next();
                out.push('}');
            }
            '{' => {
                let field: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let (name, spec) = field.split_once(':').unwrap_or((&field, ""));
                let (name, conversion) = name.split_once('!').map_or((name, ""), |(name, conversion)| (name, conversion));
                let mut parts = name.split(['.', '[']);
                let head = parts.next().unwrap_or_default();
                let mut value = if head.is_empty() {
                    auto += 1;
                    positional.get(auto - 1).copied().cloned()
                } else if let Ok(index) = head.parse::<usize>() {
                    positional.get(index).copied().cloned()
                } else {
                    named.first().and_then(|kwargs| kwargs.get_attr(head).ok()).filter(|value| !value.is_undefined())
                }
                .ok_or_else(|| bad(format!("Replacement field '{field}' has no argument")))?;
                for part in parts {
                    let key = part.trim_end_matches(']');
                    value = match key.parse::<usize>() {
                        Ok(index) if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) => value.get_item_by_index(index)?,
                        _ => value.get_item(&Value::from(key))?,
                    };
                }
                let data = from_value(&value)?;
                let data = if conversion == "r" { Data::from(python::repr(&data)) } else { data };
                out.push_str(&Spec::parse(spec)?.convert(&data)?);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
