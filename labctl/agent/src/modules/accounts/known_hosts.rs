//! `known_hosts`: keys of hosts that ssh(1) trusts.

use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::Value;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};

pub(crate) const MODULE: Module = Module {
    names: &["known_hosts"],
    params: &[
        text("name").must().aka(&["host"]),
        text("key"),
        path("path").or("~/.ssh/known_hosts"),
        flag("hash_host"),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
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

    use serde_json::json;

    use crate::modules::call::testing::Bench;

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
