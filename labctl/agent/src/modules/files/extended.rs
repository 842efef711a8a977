//! `xattr`, `capabilities`, `acl`, `alternatives`, `filesystem`, `openssh_keypair`: what lies beside a file's contents, by the
//! programs that own it where the kernel's interface is not enough.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, int, list, path, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const XATTR: Module = Module {
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
    run: xattr,
};

pub(crate) const CAPABILITIES: Module = Module {
    names: &["capabilities"],
    params: &[
        path("path").must().aka(&["key"]),
        text("capability").must().aka(&["cap"]),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run: capabilities,
};

pub(crate) const ACL: Module = Module {
    names: &["acl"],
    params: &[
        path("path").must().aka(&["name"]),
        text("entry"),
        text("entity").or(""),
        text("etype").of(&["group", "mask", "other", "user"]),
        text("permissions"),
        text("state").of(&["absent", "present", "query"]).or("query"),
        flag("follow"),
        flag("default"),
        flag("recursive"),
        flag("recalculate_mask"),
        flag("use_nfsv4_acls"),
    ],
    files: false,
    run: acl,
};

pub(crate) const ALTERNATIVES: Module = Module {
    names: &["alternatives"],
    params: &[
        text("name").must(),
        path("path").must(),
        path("link"),
        int("priority"),
        text("state").of(&["absent", "auto", "present", "selected"]).or("selected"),
        raw("subcommands").aka(&["slaves"]),
        text("family"),
    ],
    files: false,
    run: alternatives,
};

pub(crate) const FILESYSTEM: Module = Module {
    names: &["filesystem"],
    params: &[
        path("dev").must().aka(&["device"]),
        text("fstype").aka(&["type"]),
        text("opts"),
        flag("force"),
        flag("resizefs"),
        text("state").of(&["absent", "present"]).or("present"),
        text("uuid"),
    ],
    files: false,
    run: filesystem,
};

pub(crate) const KEYPAIR: Module = Module {
    names: &["openssh_keypair"],
    params: &[
        path("path").must(),
        text("type").of(&["dsa", "ecdsa", "ed25519", "rsa", "rsa1"]).or("rsa"),
        int("size"),
        text("comment"),
        text("passphrase"),
        flag("force"),
        text("state").of(&["absent", "present"]).or("present"),
        text("regenerate").or("partial_idempotence"),
        list("backend").or("auto"),
    ],
    files: true,
    run: keypair,
};

fn exists(path: &str) -> Result<(), Fault> {
    if Path::new(path).symlink_metadata().is_ok() { Ok(()) } else { Err(format!("path not found or not accessible: {path}").into()) }
}

fn xattr(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    exists(file)?;
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

/// A clause such as `cap_net_bind_service+ep` as name and the rest.
fn clause(text: &str) -> Option<(String, String)> {
    let at = text.find(['+', '=', '-'])?;
    Some((text[..at].to_lowercase(), text[at..].to_owned()))
}

fn capabilities(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    let (name, flags) = clause(args.str("capability")).ok_or_else(|| Fault::from("Couldn't find operator (one of: '=', '-', '+')"))?;
    if !Path::new(file).exists() && task.check {
        return Ok(json!({"changed": true}).into());
    }
    exists(file)?;
    let output = Spawn::of(task, ["getcap", file]).must()?.out();
    let said = output.trim().strip_prefix(file).unwrap_or_default().trim().trim_start_matches("= ").to_owned();
    let mut have: Vec<(Vec<String>, String)> = Vec::new();
    for part in said.split_whitespace() {
        if let Some((names, flags)) = clause(part) {
            have.push((names.split(',').map(str::to_owned).collect(), flags.replace('+', "=")));
        }
    }
    let equal = flags.replace('+', "=");
    let sorted = |flags: &str| {
        let mut letters: Vec<char> = flags.chars().collect();
        letters.sort_unstable();
        letters
    };
    let there =
        have.iter().any(|(names, flags)| names.contains(&name) && (args.str("state") == "absent" || sorted(flags) == sorted(&equal)));
    let present = args.str("state") == "present";
    let changed = there != present;
    if changed && !task.check {
        for (names, _) in &mut have {
            names.retain(|other| *other != name);
        }
        let mut words: Vec<String> =
            have.iter().filter(|(names, _)| !names.is_empty()).map(|(names, flags)| format!("{}{flags}", names.join(","))).collect();
        if present {
            words.push(format!("{name}{flags}"));
        }
        if words.is_empty() {
            Spawn::of(task, ["setcap", "-r", file]).must()?;
        } else {
            Spawn::of(task, ["setcap", &words.join(" "), file]).must()?;
        }
    }
    Ok(json!({"changed": changed, "state": args.str("state"), "msg": if changed { "capabilities changed" } else { "" }}).into())
}

fn acl(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    if !Path::new(file).exists() && task.check {
        return Ok(json!({"changed": true}).into());
    }
    exists(file)?;
    let state = args.str("state");
    let entry = match args.filled("entry") {
        Some(entry) => entry.to_owned(),
        None => {
            let permissions = if state == "absent" { String::new() } else { format!(":{}", args.str("permissions")) };
            format!("{}:{}{permissions}", args.str("etype"), args.str("entity"))
        }
    };
    let mut options = vec![];
    if args.flag("default") {
        options.push("-d");
    }
    if args.flag("recursive") {
        options.push("-R");
    }
    let mut changed = false;
    if state != "query" {
        let verb = if state == "present" { "-m" } else { "-x" };
        // setfacl itself tells whether anything would differ: `*,*` stands for "as it is".
        let mut argv = vec!["setfacl", "--test"];
        argv.extend(&options);
        argv.extend([verb, &entry, file]);
        let output = Spawn::of(task, argv).must()?.out();
        changed = output.lines().any(|line| !line.ends_with("*,*"));
        if changed && !task.check {
            let mut argv = vec!["setfacl"];
            argv.extend(&options);
            argv.extend([verb, &entry, file]);
            Spawn::of(task, argv).must()?;
        }
    }
    let listed = Spawn::of(task, ["getfacl", "--omit-header", "--absolute-names", file]).must()?.out();
    let lines: Vec<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
    Ok(json!({"changed": changed, "msg": "", "acl": lines}).into())
}

fn alternatives(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (name, path, state) = (args.str("name"), args.str("path"), args.str("state"));
    let text = fs::read_to_string(task.root.join(format!("/var/lib/dpkg/alternatives/{name}"))).unwrap_or_default();
    let known = text.lines().any(|line| line == path);
    let auto = text.lines().next() == Some("auto");
    let selected = fs::read_link(task.root.join(format!("/etc/alternatives/{name}"))).is_ok_and(|target| target == Path::new(path));
    let changed = match state {
        "present" => !known,
        "absent" => known,
        "auto" => !known || !auto,
        _ => !known || !selected,
    };
    if changed && !task.check {
        if state == "absent" {
            Spawn::of(task, ["update-alternatives", "--remove", name, path]).must()?;
        } else {
            if !known {
                let link = args.filled("link").map(str::to_owned).or_else(|| text.lines().nth(1).map(str::to_owned));
                let link =
                    link.ok_or_else(|| Fault::from("Needed to install the alternative, but unable to do so as we are missing the link"))?;
                let priority = args.int("priority").unwrap_or(50).to_string();
                Spawn::of(task, ["update-alternatives", "--install", &link, name, path, &priority]).must()?;
            }
            match state {
                "selected" => drop(Spawn::of(task, ["update-alternatives", "--set", name, path]).must()?),
                "auto" => drop(Spawn::of(task, ["update-alternatives", "--auto", name]).must()?),
                _ => {}
            }
        }
    }
    Ok(json!({"changed": changed}).into())
}

fn filesystem(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let device = args.str("dev");
    exists(device).map_err(|_| Fault::from(format!("Device {device} not found.")))?;
    let found = Spawn::of(task, ["blkid", "-c", "/dev/null", "-o", "value", "-s", "TYPE", device])
        .run()
        .attempt("look at", device)?
        .out()
        .trim()
        .to_owned();
    if args.str("state") == "absent" {
        let changed = !found.is_empty();
        if changed && !task.check {
            Spawn::of(task, ["wipefs", "--all", device]).must()?;
        }
        return Ok(json!({"changed": changed}).into());
    }
    let kind = args.filled("fstype").ok_or_else(|| Fault::from("state is present but all of the following are missing: fstype"))?;
    if found == kind && !args.flag("force") {
        return Ok(json!({"changed": false}).into());
    }
    if !found.is_empty() && !args.flag("force") {
        return Err(format!("'{device}' is already used as {found}, use force=true to overwrite").into());
    }
    if !task.check {
        let mut argv = vec![format!("mkfs.{kind}")];
        argv.extend(match kind {
            "ext2" | "ext3" | "ext4" => vec!["-F".to_owned()],
            "xfs" | "btrfs" => vec!["-f".to_owned()],
            _ => vec![],
        });
        argv.extend(crate::modules::text::shell_words(args.str("opts")).map_err(Fault::from)?);
        argv.push(device.to_owned());
        Spawn::of(task, argv).must()?;
    }
    Ok(json!({"changed": true}).into())
}

fn keypair(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let file = args.str("path");
    let public = format!("{file}.pub");
    if args.str("state") == "absent" {
        let mut changed = false;
        for file in [file, public.as_str()] {
            if Path::new(file).exists() {
                changed = true;
                if !task.check {
                    fs::remove_file(file).attempt("remove", file)?;
                }
            }
        }
        return Ok(json!({"changed": changed, "filename": file}).into());
    }
    let kind = args.str("type");
    let there = fs::read_to_string(&public).unwrap_or_default();
    let word = there.split(' ').next().unwrap_or_default();
    let matches = Path::new(file).exists() && (word == format!("ssh-{kind}") || kind == "ecdsa" && word.starts_with("ecdsa-"));
    let mut changed = !matches || args.flag("force");
    if changed && !task.check {
        for file in [file, public.as_str()] {
            let _ = fs::remove_file(file);
        }
        let bits = args.int("size").map(|size| size.to_string());
        let mut argv = vec!["ssh-keygen", "-q", "-t", kind, "-N", args.str("passphrase"), "-C", args.str("comment"), "-f", file];
        if let Some(bits) = &bits {
            argv.extend(["-b", bits]);
        }
        Spawn::of(task, argv).must()?;
    }
    if Path::new(file).exists() {
        changed |= task.file_args()?.enforce(Path::new(file), task.check, &mut json!({}), &mut json!({}))?;
    }
    let key = fs::read_to_string(&public).unwrap_or_default();
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    result.insert("filename".into(), file.into());
    result.insert("type".into(), kind.into());
    result.insert("public_key".into(), key.trim().into());
    result.insert("comment".into(), key.trim().splitn(3, ' ').nth(2).unwrap_or_default().into());
    Ok(Done::from(result))
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

    #[test]
    fn alternatives_that_hold_cost_nothing() {
        let bench = Bench::new();
        bench.write("var/lib/dpkg/alternatives/editor", "manual\n/usr/bin/editor\n\n/usr/bin/vim\n50\n\n");
        fs::create_dir_all(bench.path("etc/alternatives")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/vim", bench.path("etc/alternatives/editor")).unwrap();
        bench.converges("alternatives", json!({"name": "editor", "path": "/usr/bin/vim"}), false);
        let auto = json!({"name": "editor", "path": "/usr/bin/vim", "state": "auto"});
        assert_eq!(bench.call("alternatives", auto, true).result["changed"], true);
    }
}
