//! The known word that a mistyped one was probably meant to be.

/// Words that people know from elsewhere, and what they are called here.
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

/// The candidate nearest to `word`, if one is near enough to be suggested.
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
        (if part { 0 } else { distance(&word, &plain) }, candidate)
    });
    let limit = (word.chars().count() / 3).min(3);
    near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // Keys are short; a long word is like none of them, and would cost its length squared.
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
