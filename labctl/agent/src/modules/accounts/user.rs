//! `user`: an account, its groups, password, home and keys.

use std::path::Path;

use serde_json::{Map, Value};

use super::{user_home, user_lines};
use crate::modules::accounts::account_ids;
use crate::modules::accounts::passwd::{self, User};
use crate::modules::call::arguments::{flag, float, int, list, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["user"],
    params: &[
        text("name").must().aka(&["user"]),
        text("state").of(&["absent", "present"]).or("present"),
        int("uid"),
        flag("non_unique"),
        text("group"),
        list("groups"),
        text("comment"),
        path("home"),
        path("shell"),
        text("password"),
        text("login_class"),
        int("password_expire_max"),
        int("password_expire_min"),
        int("password_expire_warn"),
        int("password_expire_account_disable"),
        flag("hidden"),
        text("seuser"),
        flag("force"),
        flag("remove"),
        on("create_home").aka(&["createhome"]),
        text("skeleton"),
        flag("system"),
        flag("move_home"),
        flag("append"),
        flag("generate_ssh_key"),
        int("ssh_key_bits").or("0"),
        text("ssh_key_type").or("rsa"),
        path("ssh_key_file"),
        text("ssh_key_comment"),
        text("ssh_key_passphrase"),
        text("update_password").of(&["always", "on_create"]).or("always"),
        float("expires"),
        flag("password_lock"),
        flag("local"),
        text("profile"),
        text("authorization"),
        text("role"),
        text("umask"),
        int("uid_min"),
        int("uid_max"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = args.str("name");
    account_ids::valid_name(name, "user")?;
    let lock = (!task.check).then(|| passwd::lock(task.root)).transpose().attempt("lock", "/etc/.pwd.lock")?;
    let current = passwd::user(task.root, name);
    let mut result = Map::new();
    result.insert("name".into(), name.into());
    result.insert("state".into(), args.str("state").into());
    if args.str("state") == "absent" {
        result.insert("changed".into(), current.is_some().into());
        if let Some(user) = current {
            result.insert("force".into(), args.flag("force").into());
            result.insert("remove".into(), args.flag("remove").into());
            if !task.check {
                remove(task, &user)?;
            }
        }
        return Ok(result.into());
    }
    let mut changed = match &current {
        None => {
            result.insert("system".into(), args.flag("system").into());
            result.insert("create_home".into(), args.flag("create_home").into());
            user_lines::create(task)?;
            true
        }
        Some(user) => {
            result.insert("append".into(), args.flag("append").into());
            result.insert("move_home".into(), args.flag("move_home").into());
            user_lines::modify(task, user)?
        }
    };
    drop(lock);
    let user = match passwd::user(task.root, name) {
        Some(user) => user,
        None => {
            result.insert("changed".into(), true.into());
            return Ok(result.into());
        }
    };
    let home = args.filled("home").unwrap_or(&user.home).to_owned();
    if args.flag("create_home") && !task.root.join(&home).exists() {
        changed = true;
        if !task.check {
            user_home::make(task, &user, &home)?;
        }
    }
    result.insert("uid".into(), user.uid.into());
    result.insert("group".into(), user.gid.into());
    result.insert("comment".into(), user.comment.clone().into());
    result.insert("home".into(), user.home.clone().into());
    result.insert("shell".into(), user.shell.clone().into());
    if args.has("groups") {
        result.insert("groups".into(), args.list("groups").join(",").into());
    }
    if args.has("password") {
        result.insert("password".into(), "NOT_LOGGING_PASSWORD".into());
    }
    if args.flag("generate_ssh_key") {
        changed |= ssh_key(task, &user, &mut result)?;
    }
    result.insert("changed".into(), changed.into());
    Ok(Done::from(result))
}

fn remove(task: &Task<'_>, user: &User) -> Result<(), Fault> {
    let name = user.name.as_str();
    for mut group in passwd::groups(task.root) {
        let before = group.members.len();
        group.members.retain(|member| member != name);
        if group.members.len() != before {
            crate::modules::accounts::group::write(task, &group)?;
        }
    }
    for file in ["/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/subgid"] {
        passwd::set_line(task.root, file, name, None).attempt("write", file)?;
    }
    // The user's own group is removed as well, unless others use it (userdel(8), USERGROUPS_ENAB).
    if let Some(group) = passwd::group(task.root, name)
        && group.members.is_empty()
        && !passwd::users(task.root).iter().any(|other| other.gid == group.gid)
    {
        for file in ["/etc/group", "/etc/gshadow"] {
            passwd::set_line(task.root, file, name, None).attempt("write", file)?;
        }
    }
    if task.args.flag("remove") {
        let _ = std::fs::remove_file(task.root.join(format!("/var/mail/{name}")));
        let home = task.root.join(&user.home);
        if home.is_dir() && Path::new(&user.home).components().count() > 1 {
            std::fs::remove_dir_all(&home).attempt("remove the home", &home)?;
        }
    }
    Ok(())
}

fn ssh_key(task: &Task<'_>, user: &User, result: &mut Map<String, Value>) -> Result<bool, Fault> {
    let args = &task.args;
    let kind = args.str("ssh_key_type");
    let file = args.filled("ssh_key_file").map_or(format!(".ssh/id_{kind}"), str::to_owned);
    let shown = Path::new(&user.home).join(file);
    let path = task.root.join(&shown);
    let changed = !path.exists() || (args.flag("force") && !task.check);
    if changed && !task.check {
        if let Some(folder) = path.parent() {
            user_home::private_folder(folder, user).attempt("create the folder", folder)?;
        }
        let _ = std::fs::remove_file(&path);
        let comment = match args.filled("ssh_key_comment") {
            Some(comment) => comment.to_owned(),
            None => format!("ansible-generated on {}", rustix::system::uname().nodename().to_string_lossy()),
        };
        let bits = args.int("ssh_key_bits").unwrap_or(0).to_string();
        let mut argv = vec!["ssh-keygen", "-q", "-t", kind, "-C", &comment, "-N", args.str("ssh_key_passphrase")];
        if bits != "0" {
            argv.extend(["-b", &bits]);
        }
        let target = path.to_string_lossy();
        argv.extend(["-f", &target]);
        Spawn::of(task, argv).must()?;
        for suffix in ["", ".pub"] {
            let file = format!("{target}{suffix}");
            std::os::unix::fs::chown(&file, Some(user.uid), Some(user.gid)).attempt("change the owner of", &file)?;
        }
    }
    result.insert("ssh_key_file".into(), shown.to_string_lossy().into());
    if let Ok(public) = std::fs::read_to_string(format!("{}.pub", path.display())) {
        result.insert("ssh_public_key".into(), public.trim_end().into());
        let argv = ["ssh-keygen".into(), "-lf".into(), path.to_string_lossy().into_owned()];
        if let Ok(output) = Spawn::of(task, argv).run() {
            result.insert("ssh_fingerprint".into(), output.out().trim().into());
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use serde_json::json;

    use crate::modules::call::testing::Bench;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("etc/shadow", "root:*:1::::::\napp:!:19000:0:99999:7:::\n");
        bench.write("etc/skel/.profile", "x");
        bench.write("etc/subuid", "app:100000:65536\n");
        std::fs::create_dir_all(bench.path("home/app")).unwrap();
        bench
    }

    #[test]
    fn a_user_is_made_with_group_home_and_shadow() {
        let bench = bench();
        let args = json!({"name": "web", "comment": "Web", "shell": "/bin/bash", "groups": ["adm"], "password": "$6$x"});
        let result = bench.converges("user", args, true);
        assert_eq!((result["uid"].as_u64(), result["home"].as_str()), (Some(1001), Some("/home/web")));
        assert!(bench.read("etc/passwd").contains("web:x:1001:1001:Web:/home/web:/bin/bash\n"));
        assert!(bench.read("etc/group").contains("web:x:1001:\n"));
        assert!(bench.read("etc/group").contains("adm:x:4:app,web\n"));
        assert!(bench.read("etc/shadow").contains("web:$6$x:"));
        assert!(bench.read("etc/subuid").contains("web:165536:65536\n"));
        let home = bench.path("home/web").metadata().unwrap();
        assert_eq!((home.uid(), home.mode() & 0o777), (1001, 0o755));
        assert_eq!(bench.path("home/web/.profile").metadata().unwrap().uid(), 1001);
    }

    #[test]
    fn system_users_without_home() {
        let bench = bench();
        let args = json!({"name": "consul", "system": true, "create_home": false, "shell": "/usr/sbin/nologin", "home": "/var/lib/consul"});
        let result = bench.converges("user", args, true);
        assert_eq!(result["uid"], 999);
        assert!(bench.read("etc/passwd").contains("consul:x:999:999::/var/lib/consul:/usr/sbin/nologin\n"));
        assert!(!bench.exists("var/lib/consul"));
        let line = bench.read("etc/shadow").lines().find(|l| l.starts_with("consul")).unwrap().to_owned();
        assert!(line.starts_with("consul:!:") && line.ends_with("::::::"), "{line}");
    }

    #[test]
    fn changes_to_an_account() {
        let bench = bench();
        bench.converges("user", json!({"name": "app", "shell": "/bin/zsh", "uid": 1500}), true);
        assert!(bench.read("etc/passwd").contains("app:x:1500:1000::/home/app:/bin/zsh"));
        bench.converges("user", json!({"name": "app", "groups": "root", "append": true}), true);
        assert!(bench.read("etc/group").contains("root:x:0:app\n"));
        bench.converges("user", json!({"name": "app", "groups": ["root"]}), true);
        assert!(bench.read("etc/group").contains("adm:x:4:\n"));
        bench.converges("user", json!({"name": "app", "password": "$6$y"}), true);
        bench.converges("user", json!({"name": "app", "password_lock": true}), true);
        assert!(bench.read("etc/shadow").contains("app:!$6$y:"));
        bench.converges("user", json!({"name": "app", "password": "other", "update_password": "on_create"}), false);
        bench.converges("user", json!({"name": "app", "expires": 86400, "password_expire_max": 30}), true);
        assert!(bench.read("etc/shadow").contains(":0:30:7::1:\n"));
    }

    #[test]
    fn removal_and_faults() {
        let bench = bench();
        bench.write("home/app/file", "");
        bench.converges("user", json!({"name": "app", "state": "absent", "remove": true}), true);
        assert!(!bench.exists("home/app") && !bench.read("etc/passwd").contains("app"));
        assert!(!bench.read("etc/group").contains("app"));
        assert_eq!(bench.fault("user", json!({"name": "x", "group": "nope"})), "Group nope does not exist");
        assert_eq!(bench.fault("user", json!({"name": "x", "uid": 0})), "useradd: UID 0 is not unique");
        assert!(bench.fault("user", json!({"name": "a:b"})).contains("not a valid user name"));
    }
}
