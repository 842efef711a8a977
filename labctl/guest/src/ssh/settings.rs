//! The settings of ssh_config(5) for a host that decide where to connect, as which user and with which keys.
//!
//! Supports `Host` blocks with their patterns, and `Include`. `Match` blocks are skipped.

use std::fs;
use std::path::{Path, PathBuf};

/// Settings of one host; those that the files do not set are none or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `HostName`
    pub address: Option<String>,
    /// `Port`
    pub port: Option<u16>,
    /// `User`
    pub user: Option<String>,
    /// `IdentityFile`, in order.
    pub keys: Vec<PathBuf>,
    /// `UserKnownHostsFile`
    pub known_hosts: Vec<PathBuf>,
    /// `HostKeyAlias`
    pub alias: Option<String>,
    /// `ProxyJump` or `ProxyCommand`, which are not supported.
    pub proxy: Option<String>,
}

/// How deeply files may include others.
const DEPTH: usize = 8;

impl Settings {
    /// Reads `file`, which may be missing, for the host that the user calls `name`. `home` stands for `~`.
    pub fn read(file: &Path, name: &str, home: &Path) -> Self {
        let mut out = Self::default();
        out.take(file, name, home, 0);
        out
    }

    fn take(&mut self, file: &Path, name: &str, home: &Path, depth: usize) {
        let Ok(text) = fs::read_to_string(file) else { return };
        let mut applies = true;
        for line in text.lines() {
            let Some((word, value)) = split(line) else { continue };
            match word.as_str() {
                "host" => applies = host_matches(&value, name),
                "match" => applies = false,
                _ if !applies => {}
                "include" if depth < DEPTH => {
                    for path in included(&value, file, home) {
                        self.take(&path, name, home, depth + 1);
                    }
                }
                word => self.set(word, &value, name, home),
            }
        }
    }

    /// The first value of a keyword counts, except for keys, which accumulate.
    fn set(&mut self, word: &str, value: &str, name: &str, home: &Path) {
        let text = || Some(value.to_owned());
        match word {
            "hostname" if self.address.is_none() => self.address = Some(value.replace("%h", name)),
            "port" if self.port.is_none() => self.port = value.parse().ok(),
            "user" if self.user.is_none() => self.user = text(),
            "identityfile" if value != "none" => self.keys.push(expand(value, name, home)),
            "userknownhostsfile" if self.known_hosts.is_empty() && value != "none" => {
                self.known_hosts = value.split_whitespace().map(|path| expand(path, name, home)).collect();
            }
            "hostkeyalias" if self.alias.is_none() => self.alias = text(),
            "proxyjump" | "proxycommand" if self.proxy.is_none() => self.proxy = Some(format!("{word} {value}")),
            _ => {}
        }
    }
}

/// `word value` or `word=value`, without comments and quotes; the word in lower case.
fn split(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let value = line[end..].trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_end();
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Some((line[..end].to_lowercase(), value.to_owned()))
}

fn expand(path: &str, name: &str, home: &Path) -> PathBuf {
    let path = path.replace("%h", name).replace("%d", &home.display().to_string());
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(path),
    }
}

/// Files named by an `Include`: its patterns may have stars in the last part of the path.
fn included(value: &str, file: &Path, home: &Path) -> Vec<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let mut out = Vec::new();
    for pattern in value.split_whitespace() {
        let path = beside.join(expand(pattern, "", home));
        let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !last.contains(['*', '?']) {
            out.push(path);
            continue;
        }
        let folder = fs::read_dir(path.parent().unwrap_or(beside)).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = folder.filter(|entry| fits(&last, &entry.file_name().to_string_lossy())).map(|e| e.path()).collect();
        found.sort();
        out.append(&mut found);
    }
    out
}

/// Whether one of the patterns matches, and none of those after `!`.
fn host_matches(patterns: &str, name: &str) -> bool {
    let mut hit = false;
    for pattern in patterns.split_whitespace() {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern, name) => return false,
            Some(_) => {}
            None => hit |= fits(pattern, name),
        }
    }
    hit
}

/// `*` and `?` as in ssh_config(5), section PATTERNS.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Position of the last star, and how much of the text it has matched.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_values_count_and_keys_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(folder.path().join("more.conf"), "Host web*\n  User included\n").unwrap();
        fs::write(
            &file,
            "# a comment\nInclude *.conf\nHost web1 !web2\n HostName=10.0.0.1\n\tPort 2222\n IdentityFile ~/.ssh/a\nMatch all\n User no\nHost *\n User late\n IdentityFile \"/k/%h\"\n ProxyJump j\n",
        )
        .unwrap();
        let home = Path::new("/home/u");
        let web = Settings::read(&file, "web1", home);
        assert_eq!((web.address.as_deref(), web.port, web.user.as_deref()), (Some("10.0.0.1"), Some(2222), Some("included")));
        assert_eq!(web.keys, [PathBuf::from("/home/u/.ssh/a"), PathBuf::from("/k/web1")]);
        let other = Settings::read(&file, "web2", home);
        assert_eq!((other.port, other.proxy.as_deref()), (None, Some("proxyjump j")));
        assert_eq!(Settings::read(Path::new("/nowhere"), "x", home), Settings::default());
    }

    #[test]
    fn patterns_fit_as_in_ssh() {
        for (pattern, text, hit) in
            [("*", "a", true), ("w?b", "web", true), ("w?b", "weeb", false), ("*.a*c", "x.abac", true), ("", "a", false)]
        {
            assert_eq!(fits(pattern, text), hit, "{pattern} {text}");
        }
    }
}
