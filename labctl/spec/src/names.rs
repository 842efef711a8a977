//! Rules for names defined elsewhere: host names, Ansible's groups and variables, file names.

/// Returns a reason and a hint if a text is not a host name (RFC 1123, section 2.1: labels of letters, digits and inner hyphens).
pub(crate) fn host_name(name: &str) -> Result<(), (String, String)> {
    let fault = |reason: String| {
        let hint = "use lower-case letters, digits and inner hyphens, in parts joined by dots, such as `frontend.lb.demo`";
        Err((reason, hint.to_owned()))
    };
    if name.len() > 253 {
        return fault(format!("the name has {} characters; at most 253 are allowed", name.len()));
    }
    for label in name.split('.') {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if label.is_empty() {
            return fault(format!("`{name}` has an empty part before or after a dot"));
        }
        if label.len() > 63 {
            return fault(format!("the part `{label}` has {} characters; at most 63 are allowed", label.len()));
        }
        if label.chars().any(|c| c.is_ascii_uppercase()) {
            return Err((format!("`{name}` has capital letters"), format!("write `{}`", name.to_ascii_lowercase())));
        }
        if !label.chars().all(|c| alphanumeric(c) || c == '-') || label.starts_with('-') || label.ends_with('-') {
            return fault(format!("`{name}` is not a valid host name"));
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.chars().all(|c| c.is_ascii_digit()) {
        return fault(format!("`{name}` looks like an address, not a name"));
    }
    if is_loopback(name) {
        return Err((format!("`{name}` always means the machine itself"), "choose another name".to_owned()));
    }
    Ok(())
}

/// Names that every machine has for its loopback address (RFC 6761, section 6.3, and Debian's `/etc/hosts`).
fn is_loopback(name: &str) -> bool {
    let reserved = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters"];
    reserved.contains(&name) || name.ends_with(".localhost")
}

/// Whether a text is a valid Ansible group name. Hyphens are allowed: Ansible warns about them and continues.
pub(crate) fn is_group(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// Whether a text is a valid Ansible variable name.
pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text can be a file's stem or part: no separators, no leading dot.
pub(crate) fn is_stem(name: &str) -> bool {
    !name.starts_with('.')
        && !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_those_of_rfc_1123() {
        for good in ["a", "0a", "root.server.demo", "x-1.y", "a.b.c1"] {
            assert_eq!(host_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        let longer = format!("{}a", "a.".repeat(127));
        for bad in
            ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "A.b", "10.0.0.1", "7", "localhost", "x.localhost", &long, &longer]
        {
            assert!(host_name(bad).is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn groups_variables_and_stems() {
        assert!(is_group("nomad_clients") && is_group("a-b") && is_group("_x"));
        assert!(!is_group("1a") && !is_group("a b") && !is_group("") && !is_group("-a"));
        assert!(is_variable("x_1") && !is_variable("x-1") && !is_variable("1x") && !is_variable(""));
        assert!(is_stem("debian-12") && !is_stem("a/b") && !is_stem("..") && !is_stem(""));
    }
}
