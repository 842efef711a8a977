//! `xattr`: extended attributes of files.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{on, path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["xattr"],
    params: &[
        path("path").must().aka(&["name"]),
        text("namespace").or("user"),
        text("key"),
        text("value"),
        text("state").of(&["absent", "all", "keys", "present", "read"]).or("read"),
        on("follow"),
    ],
    files: false,
    run,
};

/// The kernel's limit for a value and for all names together (linux/limits.h).
const LONGEST: usize = 64 << 10;

/// Attributes of the file, or of the link itself.
struct Attributes<'a> {
    path: &'a Path,
    follow: bool,
}

impl Attributes<'_> {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; LONGEST];
        let length = match self.follow {
            true => rustix::fs::getxattr(self.path, name, &mut value[..]),
            false => rustix::fs::lgetxattr(self.path, name, &mut value[..]),
        };
        length.ok().map(|length| value[..length].to_vec())
    }

    fn names(&self) -> Result<Vec<String>, Fault> {
        let mut names = vec![0; LONGEST];
        let length = match self.follow {
            true => rustix::fs::listxattr(self.path, &mut names[..]),
            false => rustix::fs::llistxattr(self.path, &mut names[..]),
        };
        let length = length.attempt("list the attributes of", self.path)?;
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), Fault> {
        let flags = rustix::fs::XattrFlags::empty();
        let done = match self.follow {
            true => rustix::fs::setxattr(self.path, name, value, flags),
            false => rustix::fs::lsetxattr(self.path, name, value, flags),
        };
        done.attempt("set the attribute of", self.path)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        let done = if self.follow { rustix::fs::removexattr(self.path, name) } else { rustix::fs::lremovexattr(self.path, name) };
        done.attempt("remove the attribute of", self.path)
    }
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let path = args.path("path").unwrap_or_default();
    if !path.exists() {
        return Err("path not found or not accessible!".into());
    }
    let attributes = Attributes { path: &path, follow: args.flag("follow") };
    let (state, space) = (args.str("state"), args.str("namespace"));
    let name = args.filled("key").map(|key| match space {
        "" => key.to_owned(),
        "user" if key.starts_with("user.") => key.to_owned(),
        space => format!("{space}.{key}"),
    });
    let shown = |name: &str| attributes.get(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    let mut found = Map::new();
    let mut changed = false;
    let msg = match (state, &name) {
        ("present" | "absent", None) => return Err(format!("{state} needs a key parameter").into()),
        // As in Ansible, a value is set whatever the state is.
        (_, Some(name)) if state == "present" || args.has("value") => {
            let wanted = args.str("value");
            let old = attributes.get(name);
            changed = old.as_deref() != Some(wanted.as_bytes());
            found.extend(shown(name).map(|value| (name.clone(), value.into())));
            if changed && !task.check {
                attributes.set(name, wanted.as_bytes())?;
            }
            format!("{name} set to {wanted}")
        }
        ("absent", Some(name)) => {
            changed = attributes.get(name).is_some();
            found.extend(shown(name).map(|value| (name.clone(), value.into())));
            if changed && !task.check {
                attributes.remove(name)?;
            }
            format!("{name} removed")
        }
        // getfattr(1) shows only those of the namespace `user`, unless one is named.
        ("keys", _) => {
            found.extend(attributes.names()?.into_iter().filter(|name| name.starts_with("user.")).map(|name| (name, "".into())));
            "returning all keys".to_owned()
        }
        ("read", Some(name)) => {
            found.extend(shown(name).map(|value| (name.clone(), value.into())));
            format!("returning {name}")
        }
        _ => {
            for name in attributes.names()?.into_iter().filter(|name| name.starts_with("user.")) {
                let value = shown(&name).map_or(Value::Null, Value::from);
                found.insert(name, value);
            }
            if state == "all" { "dumping all".to_owned() } else { "returning None".to_owned() }
        }
    };
    Ok(json!({"changed": changed, "msg": msg, "xattr": found}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn attributes_of_files() {
        let bench = Bench::new();
        bench.write("f", "");
        let probe = rustix::fs::setxattr(bench.path("f").as_path(), "user.probe", b"", rustix::fs::XattrFlags::empty());
        if probe.is_err() {
            labctl_skip::skip!("user-attributes", "the temporary folder's file system has no user attributes");
            return;
        }
        let args = json!({"path": bench.text_path("f"), "key": "a", "value": "v", "state": "present"});
        bench.converges("xattr", args, true);
        let read = bench.run("ansible.posix.xattr", json!({"path": bench.text_path("f"), "key": "user.a"}));
        assert_eq!((&read["xattr"], &read["changed"]), (&json!({"user.a": "v"}), &json!(false)));
        assert_eq!(
            bench.run("xattr", json!({"path": bench.text_path("f"), "state": "keys"}))["xattr"],
            json!({"user.a": "", "user.probe": ""})
        );
        bench.converges("xattr", json!({"path": bench.text_path("f"), "key": "a", "state": "absent"}), true);
        assert_eq!(bench.run("xattr", json!({"path": bench.text_path("f"), "state": "all"}))["xattr"], json!({"user.probe": ""}));
        assert!(bench.fault("xattr", json!({"path": bench.text_path("f"), "state": "present"})).contains("needs a key"));
    }
}
