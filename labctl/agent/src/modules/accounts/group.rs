//! `group`: a group of the system.

use serde_json::{Map, Value};

use crate::modules::accounts::account_ids::{self, Space};
use crate::modules::accounts::passwd::{self, Group};
use crate::modules::call::arguments::{flag, int, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["group"],
    params: &[
        text("name").must(),
        text("state").of(&["absent", "present"]).or("present"),
        int("gid"),
        flag("system"),
        flag("local"),
        flag("force"),
        flag("non_unique"),
        int("gid_min"),
        int("gid_max"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("name");
    account_ids::valid_name(name, "group")?;
    let wanted = args.int("gid").map(account_ids::valid).transpose()?;
    let present = args.str("state") == "present";
    // Held across reading and writing, so that two tasks cannot choose the same id.
    let _lock = (!task.check).then(|| passwd::lock(task.root)).transpose().attempt("lock", "/etc/.pwd.lock")?;
    let current = passwd::group(task.root, name);
    let mut result = Map::new();
    result.insert("name".into(), name.into());
    result.insert("state".into(), args.str("state").into());
    let changed = match (&current, present) {
        (None, false) => false,
        (Some(group), false) => {
            remove(task, group)?;
            true
        }
        (Some(group), true) => wanted.is_some_and(|gid| gid != group.gid),
        (None, true) => true,
    };
    if changed && present {
        if let Some(gid) = wanted
            && !args.flag("non_unique")
            && passwd::groups(task.root).iter().any(|group| group.gid == gid && group.name != name)
        {
            return Err(Fault::from(format!("groupadd: GID '{gid}' already exists")).with("name", name));
        }
        if !task.check {
            let gid = match wanted {
                Some(gid) => gid,
                None => account_ids::free(task, Space::Groups, args.flag("system"))?,
            };
            let group = match current {
                Some(group) => {
                    move_users(task, group.gid, gid)?;
                    Group { gid, ..group }
                }
                None => Group { name: name.into(), password: "x".into(), gid, members: vec![] },
            };
            write(task, &group)?;
        }
    }
    result.insert("changed".into(), changed.into());
    if present && let Some(group) = passwd::group(task.root, name) {
        result.insert("gid".into(), group.gid.into());
        result.insert("system".into(), args.flag("system").into());
    }
    Ok(Done::from(result))
}

/// Writes the group's lines.
pub(crate) fn write(task: &Task<'_>, group: &Group) -> Result<(), Fault> {
    let members = group.members.join(",");
    let line = group.line();
    passwd::set_line(task.root, "/etc/group", &group.name, Some(&line)).attempt("write", "/etc/group")?;
    let shadow = format!("{}:!::{members}", group.name);
    let existing = std::fs::read_to_string(task.root.join("/etc/gshadow")).unwrap_or_default();
    let old = existing.lines().find(|line| line.split(':').next() == Some(&group.name));
    let shadow = match old.map(|line| line.split(':').collect::<Vec<_>>()) {
        Some(fields) if fields.len() == 4 => {
            format!("{}:{}:{}:{members}", fields[0], fields[1], fields[2])
        }
        _ => shadow,
    };
    passwd::set_line(task.root, "/etc/gshadow", &group.name, Some(&shadow)).attempt("write", "/etc/gshadow")
}

/// Users whose primary group changes its id are updated, as by groupmod(8).
fn move_users(task: &Task<'_>, from: u32, to: u32) -> Result<(), Fault> {
    for user in passwd::users(task.root).into_iter().filter(|user| user.gid == from) {
        let line = passwd::User { gid: to, ..user };
        passwd::set_line(task.root, "/etc/passwd", &line.name, Some(&line.line())).attempt("write", "/etc/passwd")?;
    }
    Ok(())
}

fn remove(task: &Task<'_>, group: &Group) -> Result<(), Fault> {
    if let Some(user) = passwd::users(task.root).iter().find(|user| user.gid == group.gid)
        && !task.args.flag("force")
    {
        return Err(Fault::from(format!("groupdel: cannot remove the primary group of user '{}'", user.name))
            .with("name", Value::from(group.name.as_str())));
    }
    if task.check {
        return Ok(());
    }
    for file in ["/etc/group", "/etc/gshadow"] {
        passwd::set_line(task.root, file, &group.name, None).attempt("write", file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn groups_come_change_and_go() {
        let bench = Bench::new();
        bench.write("etc/gshadow", "root:*::\n");
        let result = bench.converges("group", json!({"name": "web"}), true);
        assert_eq!(result["gid"], 1001);
        let result = bench.converges("group", json!({"name": "sys", "system": true}), true);
        assert_eq!(result["gid"], 999);
        assert_eq!(bench.converges("group", json!({"name": "web", "gid": 2000}), true)["gid"], 2000);
        assert!(bench.read("etc/gshadow").contains("web:!::\n"));
        bench.converges("group", json!({"name": "app", "gid": 1500}), true);
        assert!(bench.read("etc/passwd").contains("app:x:1000:1500:"));
        bench.converges("group", json!({"name": "web", "state": "absent"}), true);
        assert_eq!(
            bench.fault("group", json!({"name": "app", "state": "absent"})),
            "groupdel: cannot remove the primary group of user 'app'"
        );
        assert_eq!(bench.fault("group", json!({"name": "x", "gid": 4})), "groupadd: GID '4' already exists");
    }
}
