//! `xattr`: extended attributes of files.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome, must_exist};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["xattr"],
    params: &[
        path("path").must().aka(&["name"]),
        text("namespace").or("user"),
        text("key"),
        text("value"),
        text("state").of(&["absent", "all", "keys", "present", "read"]).or("read"),
        flag("follow"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    must_exist(file)?;
    let path = CString::new(Path::new(file).as_os_str().as_bytes()).map_err(|_| Fault::from("path holds a zero byte"))?;
    let read = |name: &str| -> Option<Vec<u8>> {
        let mut value = vec![0; 64 << 10];
        rustix::fs::getxattr(path.as_c_str(), name, &mut value[..]).ok().map(|length| value[..length].to_vec())
    };
    let full = |key: &str| {
        if key.starts_with("user.") || key.contains('.') && args.str("namespace") != "user" {
            key.to_owned()
        } else {
            format!("{}.{key}", args.str("namespace"))
        }
    };
    let state = args.str("state");
    let mut changed = false;
    if matches!(state, "present" | "absent") {
        let name = full(args.filled("key").ok_or_else(|| Fault::from("key is required"))?);
        let old = read(&name);
        let wanted = args.str("value").as_bytes();
        changed = if state == "present" { old.as_deref() != Some(wanted) } else { old.is_some() };
        if changed && !task.check {
            if state == "present" {
                rustix::fs::setxattr(path.as_c_str(), name.as_str(), wanted, rustix::fs::XattrFlags::empty())
                    .attempt("set the attribute of", file)?;
            } else {
                rustix::fs::removexattr(path.as_c_str(), name.as_str()).attempt("remove the attribute of", file)?;
            }
        }
    }
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::listxattr(path.as_c_str(), &mut names[..]).attempt("list the attributes of", file)?;
    let mut all = Map::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !name.starts_with(&format!("{}.", args.str("namespace"))) {
            continue;
        }
        let value = read(&name).map_or(Value::Null, |value| String::from_utf8_lossy(&value).into_owned().into());
        all.insert(name, if state == "keys" { Value::Null } else { value });
    }
    if let (Some(key), "read") = (args.filled("key"), state) {
        let name = full(key);
        all.retain(|key, _| *key == name);
    }
    Ok(json!({"changed": changed, "msg": if changed { "changed" } else { "" }, "xattr": all}).into())
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
            println!("skipped: the temporary folder's file system has no user attributes");
            return;
        }
        let args = json!({"path": bench.text_path("f"), "key": "a", "value": "v", "state": "present"});
        let result = bench.converges("xattr", args, true);
        assert_eq!(result["xattr"]["user.a"], "v");
        bench.converges("xattr", json!({"path": bench.text_path("f"), "key": "a", "state": "absent"}), true);
    }
}
