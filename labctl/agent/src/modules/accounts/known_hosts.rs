//! `known_hosts`: host keys that ssh(1) trusts.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

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

/// Prefix of a hashed host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
const HASHED: &str = "|1|";

/// A line: marker, hosts, kind and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    marker: Option<&'a str>,
    hosts: &'a str,
    kind: &'a str,
    key: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let entry = Self { marker, hosts: words.next()?, kind: words.next()?, key: words.next()? };
        (!line.starts_with('#')).then_some(entry)
    }

    fn is_of(&self, host: &str) -> bool {
        match self.hosts.strip_prefix(HASHED).and_then(|rest| rest.split_once('|')) {
            Some((salt, sum)) => STANDARD.decode(salt).is_ok_and(|salt| STANDARD.encode(hmac(&salt, host)) == sum),
            None => self.hosts.split(',').any(|name| name.to_lowercase() == host),
        }
    }
}

/// HMAC-SHA1 of the host (RFC 2104).
fn hmac(key: &[u8], host: &str) -> [u8; 20] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..20].copy_from_slice(&Sha1::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha1::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(host).finalize();
    Sha1::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn hashed(host: &str) -> Result<String, Fault> {
    let mut salt = [0; 20];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut salt)).attempt("read", "/dev/urandom")?;
    Ok(format!("{HASHED}{}|{}", STANDARD.encode(salt), STANDARD.encode(hmac(&salt, host))))
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let host = args.str("name").to_lowercase();
    let path = PathBuf::from(args.str("path"));
    let before = Edit::read(&path)?;
    let old = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&old);
    let names = |line: &str| Entry::parse(line).is_some_and(|entry| entry.is_of(&host));
    if args.str("state") == "present" {
        let key = args.filled("key").ok_or_else(|| Fault::from("No key specified when adding a host"))?.trim();
        if host.contains(',') {
            let msg = "Comma separated list of names is not supported. Please pass a single name to lookup in the known_hosts file.";
            return Err(msg.into());
        }
        let wanted = Entry::parse(key).ok_or_else(|| Fault::from("Could not parse the supplied key"))?;
        if !wanted.is_of(&host) {
            return Err("Host parameter does not match hashed host field in supplied key".into());
        }
        let there = lines.iter().position(|line| {
            Entry::parse(line).is_some_and(|entry| entry.is_of(&host) && entry.kind == wanted.kind && entry.marker == wanted.marker)
        });
        // A host that is already hashed is kept, because every hash has a new salt. One that is not is replaced if a hash is requested.
        let holds = there.and_then(|at| Entry::parse(&lines[at])).is_some_and(|entry| {
            let hidden = wanted.hosts.starts_with(HASHED) || args.flag("hash_host");
            entry.key == wanted.key && (entry.hosts == wanted.hosts || hidden && entry.hosts.starts_with(HASHED))
        });
        if !holds {
            let line = match args.flag("hash_host") && !wanted.hosts.starts_with(HASHED) {
                true => key.replacen(wanted.hosts, &hashed(&host)?, 1) + "\n",
                false => format!("{key}\n"),
            };
            if let Some(at) = there {
                lines.remove(at);
            }
            if let Some(last) = lines.last_mut()
                && !last.ends_with('\n')
            {
                last.push('\n');
            }
            lines.push(line);
        }
    } else {
        let given = args.filled("key").and_then(Entry::parse);
        // With a key, only that key of the host is removed.
        lines.retain(|line| {
            !names(line) || given.as_ref().is_some_and(|given| Entry::parse(line).is_some_and(|entry| entry.key != given.key))
        });
    }
    let after = lines.concat();
    let before = if after == old { before.or(Some(Vec::new())) } else { before };
    let owner = path.parent().and_then(|p| p.metadata().ok());
    let fresh = before.is_none();
    let mut result = Edit { path: path.clone(), before, after: lossless::encode(&after), msg: String::new() }.finish(task)?;
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
        bench.converges("known_hosts", json!({"path": path, "name": "web", "state": "absent", "key": "web ssh-ed25519 CCCC"}), false);
        bench.converges("known_hosts", json!({"path": path, "name": "web", "state": "absent"}), true);
        assert!(
            bench.fault("known_hosts", json!({"path": path, "name": "web", "key": "db ssh-ed25519 BBBB"})).starts_with("Host parameter")
        );
        assert!(bench.fault("known_hosts", json!({"path": path, "name": "web"})).starts_with("No key"));
    }

    #[test]
    fn hashed_hosts() {
        // From OpenSSH's own documentation and tests of this format.
        use super::{Engine, STANDARD};
        let salt = STANDARD.decode("F1E1KeoE/eEWhi10WpGv4OdiO6Y=").unwrap();
        assert_eq!(STANDARD.encode(super::hmac(&salt, "192.168.1.61")), "3988QV0VE8wmZL7suNrYQLITLCg=");
        let bench = Bench::new();
        let path = bench.text_path("kh");
        let args = json!({"path": path, "name": "Web", "key": "web ssh-ed25519 AAAA", "hash_host": true});
        let before = bench.call("known_hosts", args.clone(), true);
        assert_eq!((&before.result["changed"], bench.exists("kh")), (&json!(true), false));
        bench.run("known_hosts", args.clone());
        let text = bench.read("kh");
        assert!(text.starts_with("|1|") && text.ends_with(" ssh-ed25519 AAAA\n"), "{text}");
        assert_eq!(bench.run("known_hosts", args)["changed"], false);
        bench.converges("known_hosts", json!({"path": path, "name": "other", "state": "absent"}), false);
        bench.converges("known_hosts", json!({"path": path, "name": "web", "state": "absent"}), true);
    }
}
