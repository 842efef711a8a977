//! `authorized_key`: public keys that can log in as a user.

use std::path::PathBuf;

use serde_json::Map;

use crate::modules::accounts::passwd;
use crate::modules::accounts::user_home::private_folder;
use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::diff;
use crate::modules::text::lossless;

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

/// Options, kind, key and comment of a line.
fn parse(line: &str) -> Option<(String, String, String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let known = |word: &str| word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
    // Quoted options may contain spaces.
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
    let old = lossless::decode(before.as_deref().unwrap_or_default());
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
                    // A different comment alone makes no difference unless the task sets one.
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
            private_folder(folder, &user).attempt("create the folder", folder)?;
        }
        let attributes = Attributes { mode: 0o600, uid: Some(user.uid), gid: Some(user.gid) };
        replace(&path, &lossless::encode(&new), &attributes).attempt("write", &path)?;
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
}
