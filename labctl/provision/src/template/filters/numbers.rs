//! Numbers and their units.

use std::cmp::Ordering;

use super::{Call, Outcome, bad};
use crate::controller::Controller;
use crate::data::Data;
use crate::python;
use crate::template::python_random::Random;

pub(super) const FILTERS: super::Table = &[
    ("abs", abs),
    ("int", int),
    ("float", float),
    ("round", round),
    ("log", log),
    ("pow", pow),
    ("root", root),
    ("human_readable", human_readable),
    ("human_to_bytes", human_to_bytes),
    ("filesizeformat", filesizeformat),
    ("random", random),
    ("random_mac", random_mac),
    ("bool", to_bool),
];

/// `int(value)`, for the values that Jinja's filter accepts.
pub(super) fn integer(data: &Data, base: u32) -> Option<i64> {
    match data {
        Data::Int(value) => Some(*value),
        Data::Bool(value) => Some(i64::from(*value)),
        Data::Float(value) if value.is_finite() => Some(*value as i64),
        Data::Str(text) => {
            let text = text.trim().replace('_', "");
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text.strip_prefix('+').unwrap_or(&text)),
            };
            let digits = match base {
                16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
                8 => digits.trim_start_matches("0o"),
                2 => digits.trim_start_matches("0b"),
                _ => digits,
            };
            let value = i64::from_str_radix(digits, base).ok();
            let value = value.or_else(|| {
                (base == 10).then(|| digits.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value as i64))?
            });
            value.map(|value| if negative { -value } else { value })
        }
        _ => None,
    }
}

/// `float(value)`
pub(super) fn real(data: &Data) -> Option<f64> {
    match data {
        Data::Int(value) => Some(*value as f64),
        Data::Bool(value) => Some(f64::from(u8::from(*value))),
        Data::Float(value) => Some(*value),
        Data::Str(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Python's order of two values; text optionally without regard to case.
pub(super) fn compare(a: &Data, b: &Data, case_sensitive: bool) -> Option<Ordering> {
    match (a, b) {
        (Data::Str(a), Data::Str(b)) if case_sensitive => Some(a.cmp(b)),
        (Data::Str(a), Data::Str(b)) => Some(a.to_lowercase().cmp(&b.to_lowercase())),
        (Data::List(a), Data::List(b)) => {
            for (x, y) in a.iter().zip(b.iter()) {
                match compare(x, y, case_sensitive)? {
                    Ordering::Equal => {}
                    other => return Some(other),
                }
            }
            Some(a.len().cmp(&b.len()))
        }
        (Data::Int(a), Data::Int(b)) => Some(a.cmp(b)),
        (Data::Int(_) | Data::Float(_) | Data::Bool(_), Data::Int(_) | Data::Float(_) | Data::Bool(_)) => real(a)?.partial_cmp(&real(b)?),
        (Data::Null, Data::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

fn abs(call: &mut Call) -> Outcome {
    match &call.input {
        Data::Int(value) => Ok(Data::Int(value.saturating_abs())),
        Data::Float(value) => Ok(Data::Float(value.abs())),
        other => Err(bad(format!("bad operand type for abs(): '{}'", other.type_name()))),
    }
}

fn int(call: &mut Call) -> Outcome {
    let base = call.int_arg(1, "base").and_then(|base| u32::try_from(base).ok()).filter(|base| (2..=36).contains(base)).unwrap_or(10);
    Ok(match integer(&call.input, base) {
        Some(value) => Data::Int(value),
        None => call.arg(0, "default").cloned().unwrap_or(Data::Int(0)),
    })
}

fn float(call: &mut Call) -> Outcome {
    Ok(match real(&call.input) {
        Some(value) => Data::Float(value),
        None => call.arg(0, "default").cloned().unwrap_or(Data::Float(0.0)),
    })
}

/// Rounds half to even, as Python does.
fn round(call: &mut Call) -> Outcome {
    let value = real(&call.input).ok_or_else(|| bad(format!("type {} doesn't define __round__ method", call.input.type_name())))?;
    let precision = call.int_arg(0, "precision").unwrap_or(0).clamp(-15, 15) as i32;
    let factor = 10_f64.powi(precision);
    let result = match call.text_arg(1, "method").as_deref().unwrap_or("common") {
        "ceil" => (value * factor).ceil() / factor,
        "floor" => (value * factor).floor() / factor,
        // Formatting rounds the exact decimal value, half to even, as Python's round() does.
        "common" if precision >= 0 => format!("{value:.*}", precision as usize).parse().unwrap_or(value),
        "common" => (value * factor).round_ties_even() / factor,
        other => {
            return Err(bad(format!("method must be common, ceil or floor, not {other}")));
        }
    };
    Ok(match call.input {
        Data::Int(_) if precision >= 0 => call.input.clone(),
        _ => Data::Float(result),
    })
}

fn number(call: &Call) -> Result<f64, minijinja::Error> {
    real(&call.input).ok_or_else(|| bad(format!("{} needs a number, not {}", call.name, python::repr(&call.input))))
}

fn log(call: &mut Call) -> Outcome {
    let value = number(call)?;
    Ok(Data::Float(match call.arg(0, "base").and_then(real) {
        Some(10.0) => value.log10(),
        Some(base) => value.log(base),
        None => value.ln(),
    }))
}

fn pow(call: &mut Call) -> Outcome {
    let exponent = real(call.need(0, "y")?).ok_or_else(|| bad("pow needs a number"))?;
    Ok(Data::Float(number(call)?.powf(exponent)))
}

fn root(call: &mut Call) -> Outcome {
    let base = call.arg(0, "base").and_then(real).unwrap_or(2.0);
    let value = number(call)?;
    Ok(Data::Float(if base == 2.0 { value.sqrt() } else { value.powf(1.0 / base) }))
}

const UNITS: [(char, u64); 8] =
    [('Y', 1 << 60), ('Z', 1 << 60), ('E', 1 << 60), ('P', 1 << 50), ('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

fn human_readable(call: &mut Call) -> Outcome {
    let size = number(call)?;
    let bits = call.flag(0, "isbits", false);
    let wanted = call.text_arg(1, "unit").map(|unit| unit.to_uppercase());
    let base = if bits { "bits" } else { "Bytes" };
    for (letter, limit) in UNITS {
        let factor = match letter {
            'Y' => limit as f64 * 1024.0 * 1024.0,
            'Z' => limit as f64 * 1024.0,
            _ => limit as f64,
        };
        if wanted.as_ref().map_or(size >= factor, |unit| unit.starts_with(letter)) {
            return Ok(Data::from(format!("{:.2} {letter}{}", size / factor, if bits { "b" } else { "B" })));
        }
    }
    Ok(Data::from(format!("{size:.2} {base}")))
}

fn human_to_bytes(call: &mut Call) -> Outcome {
    let text = call.text();
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..split].parse().map_err(|_| bad(format!("human_to_bytes() can't interpret following string: {text}")))?;
    let unit = text[split..].trim();
    let unit = if unit.is_empty() { call.text_arg(0, "default_unit").unwrap_or_default() } else { unit.to_owned() };
    let first = unit.chars().next().map(|c| c.to_ascii_uppercase());
    let factor = match first {
        None | Some('B') => 1.0,
        Some(letter) => match UNITS.iter().find(|(unit, _)| *unit == letter) {
            Some((_, factor)) if !matches!(letter, 'Y' | 'Z') => *factor as f64,
            _ => {
                return Err(bad(format!(
                    "human_to_bytes() failed to convert {text} (unit = {unit}). The suffix must be one of Y, Z, E, P, T, G, M, K, B"
                )));
            }
        },
    };
    Ok(Data::Int((value * factor).round_ties_even() as i64))
}

fn filesizeformat(call: &mut Call) -> Outcome {
    let bytes = number(call)?;
    let binary = call.flag(0, "binary", false);
    let base = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok(Data::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Data::from(format!("{} Bytes", bytes as i64)));
    }
    let names = if binary { ["KiB", "MiB", "GiB", "TiB", "PiB"] } else { ["kB", "MB", "GB", "TB", "PB"] };
    let mut value = bytes;
    let mut name = names[0];
    for unit in names {
        value /= base;
        name = unit;
        if value < base {
            break;
        }
    }
    Ok(Data::from(format!("{value:.1} {name}")))
}

fn random(call: &mut Call) -> Outcome {
    let mut random = Random::of(call.arg(usize::MAX, "seed"), || Controller::current().random("random"));
    match &call.input {
        Data::Int(end) => {
            let start = call.int_arg(0, "start").unwrap_or(0);
            let step = match call.int_arg(1, "step").unwrap_or(1) {
                0 => 1,
                step => step,
            };
            let count = (end - start + step - step.signum()) / step;
            match u64::try_from(count) {
                Err(_) | Ok(0) => Err(bad("empty range for random")),
                Ok(count) => Ok(Data::Int(start + step * random.below(count) as i64)),
            }
        }
        Data::List(list) => random.choice(list).cloned().ok_or_else(|| bad("No random item, sequence was empty.")),
        other => Err(bad(format!("random can only be used on sequences and integers, not {}", other.type_name()))),
    }
}

/// `'52:54:00' | random_mac`: the rest of an Ethernet address.
fn random_mac(call: &mut Call) -> Outcome {
    let prefix = python::str_of(&call.input).to_lowercase();
    let given = prefix.split(':').count();
    if given > 5 {
        return Err(bad(format!("Invalid value ({prefix}) for random_mac: 5 colon(:) separated items max")));
    }
    if let Some(wrong) = prefix.split(':').find(|item| item.len() != 2 || !item.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(bad(format!("Invalid value ({prefix}) for random_mac: {wrong} not hexa byte")));
    }
    let mut random = Random::of(call.arg(0, "seed"), || Controller::current().random("random_mac"));
    // Ten digits, the first of which is not 0.
    let digits = format!("{:x}", 0x10_0000_0000 + random.below(0xf0_0000_0000));
    let mut out = prefix;
    for at in 0..6 - given {
        out.push(':');
        out.push_str(&digits[2 * at..2 * at + 2]);
    }
    Ok(Data::from(out))
}

/// Ansible's `bool`: unknown values are false.
fn to_bool(call: &mut Call) -> Outcome {
    Ok(match &call.input {
        Data::Null => Data::Null,
        other => Data::Bool(other.to_bool().unwrap_or(false)),
    })
}
