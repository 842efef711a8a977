//! Finds the known word that was probably meant by a mistyped one.

/// Words that people know from other tools, and what they are called here.
const SYNONYMS: [(&str, &str); 24] = [
    ("ip", "address"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("cpu", "cpus"),
    ("cores", "cpus"),
    ("vcpus", "cpus"),
    ("vars", "variables"),
    ("ports", "publish"),
    ("forward", "publish"),
    ("box", "image"),
    ("hosts", "nodes"),
    ("machines", "nodes"),
    ("vms", "nodes"),
    ("volumes", "sync"),
    ("mounts", "sync"),
    ("folders", "sync"),
    ("aliases", "hostnames"),
    ("hostname", "hostnames"),
    ("playbook", "provision"),
    ("playbooks", "provision"),
    ("plays", "provision"),
    ("cidr", "subnet"),
    ("steps", "method"),
    ("probes", "steady_state"),
];

/// The candidate nearest to `word`, if one is close enough to suggest.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let meant = SYNONYMS.iter().find(|(from, _)| *from == word).map(|(_, to)| *to);
    if let Some(found) = candidates.iter().find(|candidate| Some(**candidate) == meant) {
        return Some(found);
    }
    let near = candidates.into_iter().map(|candidate| {
        let plain = candidate.to_lowercase().replace('-', "_");
        // `KILL` means `SIGKILL`.
        let part = word.len() >= 4 && plain.ends_with(&word);
        // Keys are short; a long word matches none of them, and comparing it would take quadratic time.
        let near = if word.len().max(plain.len()) > 64 { usize::MAX } else { strsim::osa_distance(&word, &plain) };
        (if part { 0 } else { near }, candidate)
    });
    let limit = (word.chars().count() / 3).min(3);
    near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let keys = ["name", "memory", "cpus", "publish", "host_loopback"];
        for (word, expected) in [
            ("memroy", Some("memory")),
            ("Memory", Some("memory")),
            ("nam", Some("name")),
            ("host-loopback", Some("host_loopback")),
            ("ram", Some("memory")),
            ("ports", Some("publish")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest("KILL", ["SIGTERM", "SIGKILL"]), Some("SIGKILL"));
        assert_eq!(nearest(&"a".repeat(100_000), keys), None);
    }
}
