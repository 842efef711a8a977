//! Host patterns: `web:&prod:!old`, globs, regular expressions, ranges of a group.

use labctl_wire::python_regex::{self, Flags};

/// Whether a shell pattern (`*`, `?`, `[a-z]`) matches the whole text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    fn class(pattern: &[char], c: char) -> Option<(bool, usize)> {
        let negated = matches!(pattern.get(1), Some('!' | '^'));
        let mut at = if negated { 2 } else { 1 };
        let start = at;
        let mut found = false;
        loop {
            match (pattern.get(at)?, pattern.get(at + 1), pattern.get(at + 2)) {
                (']', _, _) if at > start => return Some((found != negated, at + 1)),
                (low, Some('-'), Some(high)) if *high != ']' => {
                    found |= (*low..=*high).contains(&c);
                    at += 3;
                }
                (one, _, _) => {
                    found |= *one == c;
                    at += 1;
                }
            }
        }
    }
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..])),
            (Some('?'), Some(_)) => matches(&pattern[1..], &text[1..]),
            (Some('['), Some(c)) => match class(pattern, *c) {
                Some((hit, used)) => hit && matches(&pattern[used..], &text[1..]),
                None => *c == '[' && matches(&pattern[1..], &text[1..]),
            },
            (Some(p), Some(c)) => p == c && matches(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    // Runs of stars would take exponential time; one star is equivalent.
    let mut chars: Vec<char> = Vec::new();
    for c in pattern.chars() {
        if !(c == '*' && chars.last() == Some(&'*')) {
            chars.push(c);
        }
    }
    matches(&chars, &text.chars().collect::<Vec<_>>())
}

/// The hosts selected by a pattern, in inventory order within each part. `members` returns the hosts for a group or host name, which may be
/// a glob.
pub(crate) fn select(pattern: &str, all: &[String], members: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut parts: Vec<&str> = split(pattern);
    // Ansible applies unions first, then intersections, then exclusions.
    parts.sort_by_key(|part| match part.chars().next() {
        Some('&') => 1,
        Some('!') => 2,
        _ => 0,
    });
    let mut hosts: Vec<String> = Vec::new();
    if parts.first().is_some_and(|part| part.starts_with(['&', '!'])) {
        hosts = all.to_vec();
    }
    for part in parts {
        match part.chars().next() {
            Some('&') => {
                let named = one(&part[1..], all, members);
                hosts.retain(|host| named.contains(host));
            }
            Some('!') => {
                let named = one(&part[1..], all, members);
                hosts.retain(|host| !named.contains(host));
            }
            _ => {
                for host in one(part, all, members) {
                    if !hosts.contains(&host) {
                        hosts.push(host);
                    }
                }
            }
        }
    }
    hosts
}

/// Splits at commas or, if there are none, at colons, but not inside brackets.
fn split(pattern: &str) -> Vec<&str> {
    if pattern.contains(',') {
        return pattern.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    }
    let mut parts = Vec::new();
    let mut depth = 0_i32;
    let mut start = 0;
    for (at, c) in pattern.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ':' | ';' if depth == 0 => {
                parts.push(pattern[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(pattern[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn one(part: &str, all: &[String], members: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    if let Some(expression) = part.strip_prefix('~') {
        let regex = python_regex::compile(&format!("\\A(?:{expression})"), Flags::default());
        let matching = |name: &str| regex.as_ref().is_ok_and(|regex| regex.is_match(name).unwrap_or(false));
        return all.iter().filter(|host| matching(host)).cloned().collect();
    }
    if matches!(part, "all" | "*") {
        return all.to_vec();
    }
    // `group[0]`, `group[-1]`, `group[0:2]`
    if let Some((name, range)) = part.strip_suffix(']').and_then(|part| part.rsplit_once('['))
        && !range.is_empty()
        && range.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':'))
        && !range[1..].contains('-')
    {
        let hosts = one(name, all, members);
        let count = hosts.len() as i64;
        let index = |text: &str, default: i64| -> i64 { text.parse::<i64>().map_or(default, |at| if at < 0 { at + count } else { at }) };
        let (first, last) = match range.split_once([':']) {
            Some((first, last)) => (index(first, 0), index(last, count - 1)),
            None => (index(range, 0), index(range, 0)),
        };
        let wanted = |at: &usize| (first..=last).contains(&(*at as i64));
        return hosts.into_iter().enumerate().filter(|(at, _)| wanted(at)).map(|(_, host)| host).collect();
    }
    members(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, hit) in [
            ("web*", "web1", true),
            ("web?", "web10", false),
            ("w[a-f]b[!2]", "web1", true),
            ("w[a-f]b[!2]", "web2", false),
            ("*.conf", "a.conf", true),
            ("[x", "[x", true),
            ("**********a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbb", false),
        ] {
            assert_eq!(glob(pattern, text), hit, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_select_hosts() {
        let all: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        let members = |name: &str| -> Vec<String> {
            match name {
                "web" => vec!["a".into(), "b".into(), "c".into()],
                "prod" => vec!["b".into(), "c".into(), "d".into()],
                _ => all.iter().filter(|host| glob(name, host)).cloned().collect(),
            }
        };
        for (pattern, hosts) in [
            ("all", "abcd"),
            ("web:&prod", "bc"),
            ("web:!prod", "a"),
            ("!prod", "a"),
            ("d,a", "da"),
            ("web[0]", "a"),
            ("web[-1]", "c"),
            ("web[0:1]", "ab"),
            ("~[ab]", "ab"),
            ("prod:&web:!c", "b"),
        ] {
            assert_eq!(select(pattern, &all, &members).concat(), hosts, "{pattern}");
        }
    }
}
