//! Permission bits, octal or symbolic (chmod(1)).

use serde_json::Value;

/// A mode as specified in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Permission bits.
    Bits(u32),
    /// For example `u=rwX,g-w`.
    Symbolic(String),
    /// The mode of the source.
    Preserve,
}

impl Mode {
    /// Reads `0644` (text, octal), 420 (number, as YAML 1.1 reads an octal one) or `u=rw,g=r`.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Number(number) => {
                let bits = number.as_u64().and_then(|bits| u32::try_from(bits).ok());
                return bits.map(Self::Bits).ok_or_else(|| format!("mode {number} is out of range"));
            }
            Value::String(text) => text.trim(),
            other => {
                return Err(format!("mode must be in octal or symbolic form, got: {other}"));
            }
        };
        if text == "preserve" {
            return Ok(Self::Preserve);
        }
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return u32::from_str_radix(digits, 8).map(Self::Bits).map_err(|_| format!("mode must be in octal or symbolic form: {text}"));
        }
        apply_symbolic(text, 0, false)?;
        Ok(Self::Symbolic(text.to_owned()))
    }

    /// The resulting bits for a file that has `current`.
    pub(crate) fn resolve(&self, current: u32, folder: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits & 0o7777,
            Self::Symbolic(text) => apply_symbolic(text, current, folder).unwrap_or(current),
            Self::Preserve => current,
        }
    }
}

/// Permission bits of a new file or folder: umask 022, regardless of the agent's own.
pub(crate) fn default_mode(folder: bool) -> u32 {
    if folder { 0o755 } else { 0o644 }
}

/// Four octal digits as Ansible prints them.
pub(crate) fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

fn apply_symbolic(text: &str, current: u32, folder: bool) -> Result<u32, String> {
    let bad = || format!("bad symbolic permission for mode: {text}");
    let mut mode = current & 0o7777;
    for clause in text.split(',') {
        let split = clause.find(['=', '+', '-']).ok_or_else(bad)?;
        let (who, mut actions) = clause.split_at(split);
        let users = if who.is_empty() || who.contains('a') { "ugo" } else { who };
        if !users.chars().all(|c| "ugo".contains(c)) {
            return Err(bad());
        }
        while let Some(operator) = actions.chars().next() {
            let rest = &actions[1..];
            let end = rest.find(['=', '+', '-']).unwrap_or(rest.len());
            let letters = &rest[..end];
            actions = &rest[end..];
            for user in users.chars() {
                let bits = bits_of(letters, user, mode, current, folder).ok_or_else(bad)?;
                let mask = user_mask(user);
                mode = match operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !mask) | bits | keep_special(mode, user, letters, folder),
                };
            }
        }
    }
    Ok(mode)
}

/// A folder keeps its set-group-id bit unless the clause names `s`, as chmod(1) does.
fn keep_special(mode: u32, user: char, letters: &str, folder: bool) -> u32 {
    match user {
        'u' if folder && !letters.contains('s') => mode & 0o4000,
        'g' if folder && !letters.contains('s') => mode & 0o2000,
        'o' if !letters.contains('t') => mode & 0o1000,
        _ => 0,
    }
}

fn shift(user: char) -> u32 {
    match user {
        'u' => 6,
        'g' => 3,
        _ => 0,
    }
}

fn user_mask(user: char) -> u32 {
    let special = match user {
        'u' => 0o4000,
        'g' => 0o2000,
        _ => 0o1000,
    };
    (0o7 << shift(user)) | special
}

fn bits_of(letters: &str, user: char, mode: u32, current: u32, folder: bool) -> Option<u32> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'r' => 0o4 << shift(user),
            'w' => 0o2 << shift(user),
            'x' => 0o1 << shift(user),
            'X' if folder || current & 0o111 != 0 => 0o1 << shift(user),
            'X' => 0,
            's' if user == 'u' => 0o4000,
            's' if user == 'g' => 0o2000,
            's' => 0,
            't' => 0o1000,
            'u' | 'g' | 'o' => ((mode >> shift(letter)) & 0o7) << shift(user),
            _ => return None,
        };
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_texts() {
        assert_eq!(Mode::parse(&json!(420)).unwrap(), Mode::Bits(0o644));
        assert_eq!(Mode::parse(&json!("0644")).unwrap(), Mode::Bits(0o644));
        assert_eq!(Mode::parse(&json!("1777")).unwrap(), Mode::Bits(0o1777));
        assert!(Mode::parse(&json!("rw-r--")).is_err());
        assert!(Mode::parse(&json!("u=q")).is_err());
    }

    #[test]
    fn symbols_act_like_chmod() {
        for (text, current, folder, wanted) in [
            ("u=rw,g=r,o=r", 0o777, false, 0o644),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("o-rwx", 0o755, false, 0o750),
            ("+x", 0o644, false, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("u=rwX,g=rX,o=", 0o600, true, 0o750),
            ("u+x,g-r+w", 0o640, false, 0o720),
            ("+t", 0o755, true, 0o1755),
        ] {
            let mode = Mode::parse(&json!(text)).unwrap();
            assert_eq!(octal(mode.resolve(current, folder)), octal(wanted), "{text} on {current:o}");
        }
    }
}
