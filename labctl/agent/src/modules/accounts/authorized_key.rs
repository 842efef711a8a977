//! `authorized_key` and `known_hosts`.

use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::modules::accounts::passwd;
use crate::modules::accounts::user_home::private_folder;
use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::diff;

pub(crate) const MODULE: Module = Module {
    names: &["authorized_key"],
    params: &[
        text("user").must(),
        text("key").must(),
        path("path"),
        on("manage_dir"),
        text("state").of(&["absent", "present"]).or("present"),
        text("key_options"),
        flag("exclusive"),
        text("comment"),
        on("validate_certs"),
        flag("follow"),
    ],
    files: false,
    run,
};

pub(crate) const KNOWN_HOSTS: Module = Module {
    names: &["known_hosts"],
    params: &[
        text("name").must().aka(&["host"]),
        text("key"),
        path("path").or("~/.ssh/known_hosts"),
        flag("hash_host"),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run: known_hosts,
};

/// Options, kind, key and comment of a line.
fn parse(line: &str) -> Option<(String, String, String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let known = |word: &str| word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
    // Options may hold blanks within quotes.
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    let mut words = Vec::new();
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                if at > start {
                    words.push(&line[start..at]);
                }
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\';
    }
    words.push(&line[start..]);
    let kind = words.iter().position(|word| known(word)).filter(|at| *at < 2)?;
    let options = if kind == 1 { words[0].to_owned() } else { String::new() };
    Some((options, words[kind].to_owned(), (*words.get(kind + 1)?).to_owned(), words[kind + 2..].join(" ")))
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("user");
    let Some(user) = passwd::user(task.root, name) else {
        if task.check && args.filled("path").is_none() {
            return Ok(serde_json::json!({"changed": true, "user": name}).into());
        }
        return Err(format!("Failed to lookup user {name}: 'getpwnam(): name not found: {name}'").into());
    };
    let path = match args.filled("path") {
        Some(path) => PathBuf::from(path),
        None => task.root.join(&user.home).join(".ssh/authorized_keys"),
    };
    let mut keys = args.str("key").to_owned();
    if keys.starts_with("http://") || keys.starts_with("https://") {
        let mut response = crate::modules::network::http::Request::get(task, &keys).send()?;
        if response.status != 200 {
            return Err(format!("Error getting key from: {keys}").into());
        }
        keys = String::from_utf8_lossy(&response.bytes().attempt("read", &keys)?).into_owned();
    }
    let mut wanted = Vec::new();
    for line in keys.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (options, kind, key, comment) = parse(line).ok_or_else(|| Fault::from(format!("invalid key specified: {line}")))?;
        let options = args.text("key_options").map_or(options, str::to_owned);
        let comment = args.text("comment").map_or(comment, str::to_owned);
        let words = [options, kind, key.clone(), comment];
        wanted.push((key, format!("{}\n", words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))));
    }
    let before = Edit::read(&path)?;
    let old = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut lines = lines_of(&old);
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push('\n');
    }
    let of = |line: &str| parse(line).map(|(_, _, key, _)| key);
    if args.str("state") == "present" {
        for (key, line) in &wanted {
            match lines.iter().position(|old| of(old).as_ref() == Some(key)) {
                Some(at) => {
                    // A comment alone makes no difference unless one is asked for.
                    let (a, b) = (parse(&lines[at]), parse(line));
                    let same = a.zip(b).is_some_and(|(a, b)| a.0 == b.0 && (a.3 == b.3 || !args.has("comment")));
                    if !same {
                        lines[at].clone_from(line);
                    }
                }
                None => lines.push(line.clone()),
            }
        }
        if args.flag("exclusive") {
            lines.retain(|line| of(line).is_none_or(|key| wanted.iter().any(|(wanted, _)| *wanted == key)));
        }
    } else {
        lines.retain(|line| of(line).is_none_or(|key| !wanted.iter().any(|(wanted, _)| *wanted == key)));
    }
    let new = lines.concat();
    let changed = new != old;
    if changed && !task.check {
        if args.flag("manage_dir")
            && let Some(folder) = path.parent()
        {
            private_folder(folder, &user).attempt("make the folder", folder)?;
        }
        let attributes = Attributes { mode: 0o600, uid: Some(user.uid), gid: Some(user.gid) };
        replace(&path, new.as_bytes(), &attributes).attempt("write", &path)?;
    }
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    for (key, value) in [("user", name), ("key", args.str("key")), ("state", args.str("state"))] {
        result.insert(key.into(), value.into());
    }
    result.insert("keyfile".into(), path.to_string_lossy().into());
    result.insert("exclusive".into(), args.flag("exclusive").into());
    task.put_diff(&mut result, || diff::texts(&path.to_string_lossy(), &old, &new));
    Ok(Done::from(result))
}

fn known_hosts(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let host = args.str("name").to_lowercase();
    let path = PathBuf::from(args.str("path"));
    if args.flag("hash_host") {
        return Err("hash_host is not supported by labctl's known_hosts module".into());
    }
    let before = Edit::read(&path)?;
    let old = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut lines = lines_of(&old);
    let fields = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let at = usize::from(words.first().is_some_and(|word| word.starts_with('@')));
        (words.get(at).cloned().unwrap_or_default(), words.get(at + 1).cloned(), words.get(at + 2).cloned())
    };
    let names = |line: &str| fields(line).0.split(',').any(|name| name.to_lowercase() == host);
    if args.str("state") == "present" {
        let key = args.filled("key").ok_or_else(|| Fault::from("No key specified when adding a host"))?.trim();
        let (_, kind, data) = fields(key);
        if !names(key) {
            return Err("Host parameter does not match hashed host field in supplied key".into());
        }
        let (Some(kind), Some(data)) = (kind, data) else {
            return Err("Could not parse the supplied key".into());
        };
        let there = lines.iter().position(|line| names(line) && fields(line).1.as_ref() == Some(&kind));
        match there {
            Some(at) if fields(&lines[at]).2.as_ref() == Some(&data) => {}
            Some(at) => lines[at] = format!("{key}\n"),
            None => {
                if let Some(last) = lines.last_mut()
                    && !last.ends_with('\n')
                {
                    last.push('\n');
                }
                lines.push(format!("{key}\n"));
            }
        }
    } else {
        lines.retain(|line| !names(line));
    }
    let after = lines.concat();
    let before = if after == old { before.or(Some(Vec::new())) } else { before };
    let owner = path.parent().and_then(|p| p.metadata().ok());
    let fresh = before.is_none();
    let mut result = Edit { path: path.clone(), before, after: after.into_bytes(), msg: String::new() }.finish(task)?;
    if fresh
        && !task.check
        && let Some(meta) = owner
    {
        use std::os::unix::fs::MetadataExt;
        chown(&path, Some(meta.uid()), Some(meta.gid())).attempt("change the owner of", &path)?;
    }
    result.remove("msg");
    result.insert("name".into(), args.str("name").into());
    result.insert("state".into(), args.str("state").into());
    result.insert("key".into(), args.text("key").map_or(Value::Null, Value::from));
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn keys_of_users() {
        let bench = Bench::new();
        let key = "ssh-ed25519 AAAA one@x";
        bench.converges("authorized_key", json!({"user": "app", "key": key}), true);
        let file = bench.path("home/app/.ssh/authorized_keys").metadata().unwrap();
        assert_eq!((file.uid(), file.mode() & 0o777), (1000, 0o600));
        let options = json!({"user": "app", "key": "ssh-rsa BBBB two", "key_options": "command=\"a b\",no-pty"});
        bench.converges("authorized_key", options, true);
        assert_eq!(bench.read("home/app/.ssh/authorized_keys"), "ssh-ed25519 AAAA one@x\ncommand=\"a b\",no-pty ssh-rsa BBBB two\n");
        bench.converges("authorized_key", json!({"user": "app", "key": key, "exclusive": true}), true);
        bench.converges("authorized_key", json!({"user": "app", "key": key, "state": "absent"}), true);
        assert_eq!(bench.read("home/app/.ssh/authorized_keys"), "");
        assert!(bench.fault("authorized_key", json!({"user": "app", "key": "rubbish"})).starts_with("invalid key specified"));
    }

    #[test]
    fn hosts_keys() {
        let bench = Bench::new();
        let path = bench.text_path("kh");
        bench.converges("known_hosts", json!({"path": path, "name": "web", "key": "web,10.0.0.1 ssh-ed25519 AAAA"}), true);
        bench.converges("known_hosts", json!({"path": path, "name": "web", "key": "web ssh-ed25519 BBBB"}), true);
        assert_eq!(bench.read("kh"), "web ssh-ed25519 BBBB\n");
        bench.converges("known_hosts", json!({"path": path, "name": "web", "state": "absent"}), true);
    }
}
