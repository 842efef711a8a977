//! The steps that make the destination match the source, described like `rsync --itemize-changes`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::filter;
use super::options::Options;

/// A machine's files, as listed by its agent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Listing {
    pub entries: Vec<Entry>,
    #[serde(default)]
    pub folder: bool,
    #[serde(default)]
    pub exists: bool,
    /// Whether the agent may change the owner of files.
    #[serde(default)]
    pub root: bool,
    #[serde(default)]
    pub users: HashMap<String, u32>,
    #[serde(default)]
    pub groups: HashMap<String, u32>,
}

/// A file, folder or link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "p")]
    pub path: String,
    /// `f`, `d`, `l`, or `s` for anything else.
    #[serde(rename = "k")]
    pub kind: String,
    #[serde(rename = "m")]
    pub mode: u32,
    #[serde(rename = "s")]
    pub size: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "t")]
    pub modified: i64,
    #[serde(rename = "u")]
    pub uid: u32,
    #[serde(rename = "g")]
    pub gid: u32,
    #[serde(rename = "un", default)]
    pub user: Option<String>,
    #[serde(rename = "gn", default)]
    pub group: Option<String>,
    #[serde(rename = "l", default)]
    pub link: String,
    #[serde(rename = "h", default)]
    pub sha256: Option<String>,
}

/// Steps for the agent, and their descriptions.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Paths whose contents are needed, with the sizes reported by the source.
    pub wanted: Vec<String>,
    deletions: Vec<Value>,
    steps: Vec<Value>,
    /// Folders last, deepest first: writing into a folder changes its time, and its mode may forbid it.
    late: Vec<Value>,
    pub lines: Vec<String>,
}

impl Plan {
    /// All steps in order. `sizes` are the sizes of what was packed for `wanted`.
    pub(super) fn steps(mut self, sizes: &[u64]) -> Vec<Value> {
        let (mut at, mut sizes) = (0, sizes.iter());
        for step in self.steps.iter_mut().filter(|step| step["do"] == "file") {
            let size = sizes.next().copied().unwrap_or_default();
            step["at"] = json!(at);
            step["n"] = json!(size);
            at += size;
        }
        self.late.reverse();
        [self.deletions, self.steps, self.late].concat()
    }
}

/// The requested state of one entry; differences go into `step` and `letters`.
struct Wishes<'a> {
    options: &'a Options,
    dest: &'a Listing,
}

impl Wishes<'_> {
    fn mode(&self, entry: &Entry) -> Option<u32> {
        let folder = entry.kind == "d";
        if self.options.chmod.is_empty() {
            return self.options.perms.then_some(entry.mode);
        }
        Some(self.options.chmod.iter().fold(entry.mode, |mode, change| chmod(mode, change, folder)))
    }

    fn uid(&self, entry: &Entry) -> Option<u32> {
        if !self.dest.root {
            return None;
        }
        match &self.options.user {
            Some(name) => self.dest.users.get(name).copied().or_else(|| name.parse().ok()),
            None if !self.options.owner => None,
            None => Some(mapped(entry.uid, entry.user.as_deref(), &self.dest.users, self.options.numeric_ids)),
        }
    }

    fn gid(&self, entry: &Entry) -> Option<u32> {
        if !self.dest.root {
            return None;
        }
        match &self.options.user_group {
            Some(name) => self.dest.groups.get(name).copied().or_else(|| name.parse().ok()),
            None if !self.options.group => None,
            None => Some(mapped(entry.gid, entry.group.as_deref(), &self.dest.groups, self.options.numeric_ids)),
        }
    }

    fn modified(&self, entry: &Entry) -> Option<i64> {
        let wanted = self.options.times && (entry.kind != "d" || self.options.folder_times);
        wanted.then_some(entry.modified)
    }
}

fn mapped(id: u32, name: Option<&str>, there: &HashMap<String, u32>, numeric: bool) -> u32 {
    name.filter(|_| !numeric).and_then(|name| there.get(name).copied()).unwrap_or(id)
}

/// Applies one change of `--chmod`: `D755`, `Fu=rw`, `go-w`, `a+X`.
fn chmod(mode: u32, change: &str, folder: bool) -> u32 {
    let change = match (change.as_bytes().first(), folder) {
        (Some(b'D'), true) | (Some(b'F'), false) => &change[1..],
        (Some(b'D' | b'F'), _) => return mode,
        _ => change,
    };
    if let Ok(bits) = u32::from_str_radix(change, 8) {
        return bits & 0o7777;
    }
    let Some(at) = change.find(['+', '-', '=']) else { return mode };
    let who = match &change[..at] {
        "" | "a" => 0o777,
        who => who.bytes().fold(0, |who, letter| {
            who | match letter {
                b'u' => 0o700,
                b'g' => 0o070,
                b'o' => 0o007,
                _ => 0o777,
            }
        }),
    };
    let bits = change[at + 1..].bytes().fold(0, |bits, letter| {
        bits | match letter {
            b'r' => 0o444,
            b'w' => 0o222,
            b'x' => 0o111,
            b'X' if folder || mode & 0o111 != 0 => 0o111,
            _ => 0,
        }
    }) & who;
    match change.as_bytes()[at] {
        b'+' => mode | bits,
        b'-' => mode & !bits,
        _ => mode & !who | bits,
    }
}

/// Compares both sides. `delete` applies below the entries in `roots`; `arrow` is `<` for sending, `>` for fetching.
pub(super) fn compare(options: &Options, source: &[Entry], dest: &Listing, roots: &[String], arrow: char) -> Plan {
    let there: BTreeMap<&str, &Entry> = dest.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let wishes = Wishes { options, dest };
    let mut plan = Plan::default();
    let mut kept: HashSet<&str> = HashSet::new();
    for entry in source {
        let folder = entry.kind == "d";
        if filter::hides(&options.rules, &entry.path, folder) && !entry.path.is_empty() {
            continue;
        }
        let wanted = match entry.kind.as_str() {
            "d" => options.recursive || options.folders,
            "l" => options.links,
            "f" => true,
            _ => false,
        };
        if !wanted {
            continue;
        }
        kept.insert(&entry.path);
        one(&mut plan, &wishes, entry, there.get(entry.path.as_str()).copied(), arrow);
    }
    if options.delete {
        delete(&mut plan, options, dest, &kept, roots);
    }
    plan
}

fn one(plan: &mut Plan, wishes: &Wishes<'_>, entry: &Entry, old: Option<&Entry>, arrow: char) {
    let options = wishes.options;
    if old.is_none() && options.existing_only || old.is_some() && options.ignore_existing && entry.kind != "d" {
        return;
    }
    let same_kind = old.filter(|old| old.kind == entry.kind);
    let (mode, uid, gid, modified) = (wishes.mode(entry), wishes.uid(entry), wishes.gid(entry), wishes.modified(entry));
    let differs = same_kind.map(|old| Differences {
        time: modified.is_some_and(|modified| modified != old.modified),
        mode: entry.kind != "l" && mode.is_some_and(|mode| mode != old.mode),
        owner: uid.is_some_and(|uid| uid != old.uid),
        group: gid.is_some_and(|gid| gid != old.gid),
        size: entry.kind == "f" && entry.size != old.size,
        content: entry.sha256 != old.sha256,
    });
    if old.is_some() && same_kind.is_none() {
        plan.deletions.push(json!({"do": "delete", "p": entry.path}));
    }
    let mut step = json!({"p": entry.path, "m": mode, "u": uid, "g": gid, "t": modified});
    let shown = if entry.path.is_empty() { "./".to_owned() } else { format!("{}{}", entry.path, if entry.kind == "d" { "/" } else { "" }) };
    match (entry.kind.as_str(), &differs) {
        ("d", None) => {
            plan.lines.push(format!("cd+++++++++ {shown}"));
            if !entry.path.is_empty() {
                plan.steps.push(json!({"do": "folder", "p": entry.path}));
            }
            step["do"] = json!("settle");
            if mode.is_none() {
                step["m"] = json!(entry.mode & 0o755);
            }
            plan.late.push(step);
        }
        ("d", Some(differs)) => {
            if differs.any() {
                plan.lines.push(format!(".d{} {shown}", differs.letters()));
                step["do"] = json!("settle");
                plan.late.push(step);
            } else if modified.is_some() {
                // Restore the time afterwards: writing into the folder must leave no trace.
                plan.late.push(json!({"do": "settle", "p": entry.path, "t": modified, "quiet": true}));
            }
        }
        ("l", differs) => {
            let same = same_kind.is_some_and(|old| old.link == entry.link);
            step["l"] = json!(entry.link);
            step["do"] = json!(if same { "settle" } else { "link" });
            if let Some(object) = step.as_object_mut() {
                object.remove("m");
            }
            match differs {
                None => plan.lines.push(format!("cL+++++++++ {shown} -> {}", entry.link)),
                Some(_) if !same => plan.lines.push(format!("cLc........ {shown} -> {}", entry.link)),
                Some(differs) if differs.any() => plan.lines.push(format!(".L{} {shown} -> {}", differs.letters(), entry.link)),
                Some(_) => return,
            }
            plan.steps.push(step);
        }
        (_, None) => {
            plan.lines.push(format!("{arrow}f+++++++++ {shown}"));
            if mode.is_none() {
                step["m"] = json!(entry.mode & 0o755);
            }
            send(plan, step, entry);
        }
        (_, Some(differs)) => {
            let newer = options.update && same_kind.is_some_and(|old| old.modified > entry.modified);
            let alike = match (options.size_only, entry.sha256.is_some()) {
                (true, _) => !differs.size,
                (false, true) => !differs.content,
                (false, false) => !differs.size && !differs.time,
            };
            if newer {
            } else if !alike {
                plan.lines.push(format!("{arrow}f{} {shown}", differs.letters()));
                send(plan, step, entry);
            } else if differs.any() {
                plan.lines.push(format!(".f{} {shown}", differs.letters()));
                step["do"] = json!("settle");
                plan.steps.push(step);
            }
        }
    }
}

fn send(plan: &mut Plan, mut step: Value, entry: &Entry) {
    step["do"] = json!("file");
    plan.steps.push(step);
    plan.wanted.push(entry.path.clone());
}

/// How an entry differs from the existing one.
struct Differences {
    time: bool,
    mode: bool,
    owner: bool,
    group: bool,
    size: bool,
    /// Only if checksums were requested.
    content: bool,
}

impl Differences {
    fn any(&self) -> bool {
        self.time || self.mode || self.owner || self.group
    }

    fn letters(&self) -> String {
        let marks = [(self.content, 'c'), (self.size, 's'), (self.time, 't'), (self.mode, 'p'), (self.owner, 'o'), (self.group, 'g')];
        marks.iter().map(|(set, letter)| if *set { *letter } else { '.' }).chain("...".chars()).collect()
    }
}

/// Removes what the source does not have, unless a rule excludes it.
fn delete(plan: &mut Plan, options: &Options, dest: &Listing, kept: &HashSet<&str>, roots: &[String]) {
    let mut gone: Vec<&str> = Vec::new();
    for entry in &dest.entries {
        let path = entry.path.as_str();
        let below = roots.iter().any(|root| root.is_empty() || path.strip_prefix(root.as_str()).is_some_and(|rest| rest.starts_with('/')));
        let covered = gone.iter().any(|above| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')));
        if path.is_empty() || !below || kept.contains(path) || covered {
            continue;
        }
        let hidden = !options.delete_excluded && filter::hides(&options.rules, path, entry.kind == "d");
        // A folder with protected contents stays; the rest of it is removed.
        let prefix = format!("{path}/");
        let protects = !options.delete_excluded
            && entry.kind == "d"
            && dest
                .entries
                .iter()
                .any(|other| other.path.starts_with(&prefix) && filter::hides(&options.rules, &other.path, other.kind == "d"));
        if hidden || protects {
            continue;
        }
        gone.push(path);
        plan.lines.push(format!("*deleting   {path}{}", if entry.kind == "d" { "/" } else { "" }));
        plan.deletions.push(json!({"do": "delete", "p": path}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: &str) -> Entry {
        Entry { path: path.into(), kind: kind.into(), mode: 0o644, size: 1, modified: 5, ..Entry::default() }
    }

    fn archive() -> Options {
        Options {
            recursive: true,
            links: true,
            perms: true,
            times: true,
            folder_times: true,
            owner: true,
            group: true,
            ..Options::default()
        }
    }

    fn listing(entries: Vec<Entry>) -> Listing {
        Listing { entries, folder: true, exists: true, root: true, ..Listing::default() }
    }

    #[test]
    fn only_what_differs_is_done() {
        let source = vec![entry("", "d"), entry("a", "f"), entry("b", "f"), entry("l", "l")];
        let mut old = source.clone();
        old[1].modified = 4;
        old[2].mode = 0o600;
        let plan = compare(&archive(), &source, &listing(old.clone()), &[String::new()], '<');
        assert_eq!(plan.lines, ["<f..t...... a", ".f...p..... b"]);
        assert_eq!(plan.wanted, ["a"]);
        let plan = compare(&archive(), &source, &listing(source.clone()), &[String::new()], '<');
        assert!(plan.lines.is_empty() && plan.wanted.is_empty());
    }

    #[test]
    fn deleting_spares_what_is_hidden_and_what_lies_elsewhere() {
        let options = Options { delete: true, rules: vec![filter::Rule { include: false, pattern: "*.log".into() }], ..archive() };
        let source = vec![entry("d", "d")];
        let dest = listing(vec![entry("d", "d"), entry("d/old", "d"), entry("d/old/x", "f"), entry("d/x.log", "f"), entry("other", "f")]);
        let plan = compare(&options, &source, &dest, &["d".into()], '<');
        assert_eq!(plan.lines, ["*deleting   d/old/"]);
        let all = Options { delete_excluded: true, ..options };
        assert_eq!(compare(&all, &source, &dest, &["d".into()], '<').lines.len(), 2);
    }

    #[test]
    fn modes_change_as_asked() {
        assert_eq!(chmod(0o600, "D755", false), 0o600);
        assert_eq!(chmod(0o600, "F644", false), 0o644);
        assert_eq!(chmod(0o666, "go-w", false), 0o644);
        assert_eq!(chmod(0o644, "u=rwx", false), 0o744);
        assert_eq!(chmod(0o644, "a+X", true), 0o755);
    }
}
