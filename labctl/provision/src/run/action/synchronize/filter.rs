//! rsync(1)'s exclusion rules: `--exclude`, `--include` and simple `--filter`s.

/// One rule: the first that matches a path decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub include: bool,
    pub pattern: String,
}

/// Whether the rules exclude this path, without considering the folders above it.
pub(super) fn leaves_out(rules: &[Rule], path: &str, is_folder: bool) -> bool {
    rules.iter().find(|rule| fits(&rule.pattern, path, is_folder)).is_some_and(|rule| !rule.include)
}

/// Whether the rules exclude this path or a folder above it (which is then not entered).
pub(super) fn hides(rules: &[Rule], path: &str, is_folder: bool) -> bool {
    let above = path.match_indices('/').any(|(at, _)| leaves_out(rules, &path[..at], true));
    !rules.is_empty() && (above || leaves_out(rules, path, is_folder))
}

fn fits(pattern: &str, path: &str, is_folder: bool) -> bool {
    // `name/***` is the folder and everything in it.
    if let Some(folder) = pattern.strip_suffix("/***") {
        return fits(&format!("{folder}/"), path, is_folder) || fits(&format!("{folder}/**"), path, is_folder);
    }
    let (pattern, folders_only) = match pattern.strip_suffix('/') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    if folders_only && !is_folder || pattern.is_empty() {
        return false;
    }
    if let Some(anchored) = pattern.strip_prefix('/') {
        return glob(anchored.as_bytes(), path.as_bytes());
    }
    if !pattern.contains('/') && !pattern.contains("**") {
        let name = path.rsplit('/').next().unwrap_or(path);
        return glob(pattern.as_bytes(), name.as_bytes());
    }
    let ends = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
    ends.into_iter().any(|at| glob(pattern.as_bytes(), &path.as_bytes()[at..]))
}

/// `*` and `?` do not match slashes, `**` does. An automaton instead of recursion, so that no pattern is slow.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The positions reached in the pattern, as automaton states.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    close(pattern, &mut reached);
    for byte in text {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|at| reached[*at]) {
            match pattern[at] {
                b'*' if deep(pattern, at) || *byte != b'/' => next[at] = true,
                b'*' => {}
                b'?' => next[at + 1] |= *byte != b'/',
                b'[' => match class(&pattern[at..], *byte) {
                    Some((length, holds)) => next[at + length] |= holds && *byte != b'/',
                    None => next[at + 1] |= *byte == b'[',
                },
                b'\\' if at + 1 < pattern.len() => next[at + 2] |= pattern[at + 1] == *byte,
                literal => next[at + 1] |= literal == *byte,
            }
        }
        close(pattern, &mut next);
        reached = next;
    }
    reached[pattern.len()]
}

/// Stars may match nothing.
fn close(pattern: &[u8], reached: &mut [bool]) {
    for at in 0..pattern.len() {
        if reached[at] && pattern[at] == b'*' {
            reached[at + 1] = true;
        }
    }
}

/// Whether the star at this position is part of `**`.
fn deep(pattern: &[u8], at: usize) -> bool {
    pattern.get(at + 1) == Some(&b'*') || at > 0 && pattern[at - 1] == b'*'
}

/// `[a-z]`, `[!x]`: its length, and whether it matches the byte. None if it is not closed.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    let end = (start + 1..pattern.len()).find(|at| pattern[*at] == b']')?;
    let body = &pattern[start..end];
    let mut holds = false;
    let mut at = 0;
    while at < body.len() {
        if at + 2 < body.len() && body[at + 1] == b'-' {
            holds |= (body[at]..=body[at + 2]).contains(&byte);
            at += 3;
        } else {
            holds |= body[at] == byte;
            at += 1;
        }
    }
    Some((end + 1, holds != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_rsync_says() {
        for (pattern, path, folder, expected) in [
            ("*.o", "a/b.o", false, true),
            ("*.o", "a.o/b", false, false),
            ("/foo", "foo", false, true),
            ("/foo", "a/foo", false, false),
            ("foo/", "a/foo", true, true),
            ("foo/", "a/foo", false, false),
            ("foo/bar", "x/foo/bar", false, true),
            ("foo/*", "foo/a/b", false, false),
            ("foo/**", "foo/a/b", false, true),
            ("foo/***", "foo", true, true),
            ("foo/***", "foo/a", false, true),
            ("[a-c]?.txt", "bx.txt", false, true),
            ("[!a]x", "ax", false, false),
            ("a\\*b", "a*b", false, true),
            ("a\\*b", "axb", false, false),
            (".git", "deep/.git", true, true),
        ] {
            assert_eq!(fits(pattern, path, folder), expected, "{pattern} {path}");
        }
        let rules = [Rule { include: true, pattern: "keep.log".into() }, Rule { include: false, pattern: "*.log".into() }];
        assert!(!hides(&rules, "a/keep.log", false) && hides(&rules, "a/x.log", false));
        assert!(hides(&[Rule { include: false, pattern: "tmp/".into() }], "a/tmp/x/y", false));
        let stars = "*a".repeat(40);
        assert!(!glob(stars.as_bytes(), "a".repeat(39).as_bytes()));
    }
}
