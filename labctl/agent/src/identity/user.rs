//! The account that people log in with. It is made by the same modules that plays use, so that whatever is already there is kept.

use std::fs;
use std::io;
use std::path::Path;

use labctl_wire::{Identity, ModuleCall, User};
use serde_json::{Value, json};

use crate::accounts;
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::run_below;

/// What the user may do by sudo.
const SUDOERS: &str = "etc/sudoers.d/labctl";

/// Shells for a user without one of its own, and for one whose shell is not installed yet.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// Makes the account below `root`, or brings it up to date; does nothing for an identity without a user. An account of `before` under
/// another name stays, without the keys that labctl gave it.
pub fn write(root: &Path, before: Option<&User>, now: &Identity) -> io::Result<()> {
    let now = now.user.as_ref();
    if let Some(before) = before {
        let left = now.is_none_or(|now| now.name != before.name);
        let gone: Vec<&str> =
            before.keys.iter().filter(|key| left || now.is_some_and(|now| !now.keys.contains(key))).map(String::as_str).collect();
        // Someone may have removed the account.
        if !gone.is_empty() && accounts::find(root, &before.name).is_ok() {
            run(root, "authorized_key", json!({ "user": before.name, "key": gone.join("\n"), "state": "absent" }))?;
        }
        if now.is_none_or(|now| !now.sudo) {
            forget(&root.join(SUDOERS))?;
        }
    }
    let Some(now) = now else { return Ok(()) };
    for group in now.groups.iter().filter(|group| accounts::group_id(root, group).is_err()) {
        run(root, "group", json!({ "name": group, "system": true }))?;
    }
    let is_new = accounts::find(root, &now.name).is_err();
    let installed = |shell: &&str| root.join(shell.trim_start_matches('/')).symlink_metadata().is_ok();
    let shell = now.shell.as_deref().into_iter().chain(SHELLS.into_iter().filter(|_| is_new || now.shell.is_some())).find(installed);
    // No password opens the account, but unlike `!` this does not lock it for sshd(8).
    let mut account = json!({ "name": now.name, "groups": now.groups, "append": true, "password": "*", "update_password": "on_create" });
    if let Some(shell) = shell {
        account["shell"] = shell.into();
    }
    run(root, "user", account)?;
    if !now.keys.is_empty() {
        run(root, "authorized_key", json!({ "user": now.name, "key": now.keys.join("\n") }))?;
    }
    if now.sudo {
        let file = root.join(SUDOERS);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let rule = format!("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", now.name);
        if fs::read(&file).ok().as_deref() != Some(rule.as_bytes()) {
            // sudo(8) ignores a file that others may write.
            replace(&file, rule.as_bytes(), &Attributes { mode: 0o440, uid: None, gid: None })?;
        }
    }
    Ok(())
}

fn run(root: &Path, module: &str, args: Value) -> io::Result<()> {
    let args = args.as_object().cloned().unwrap_or_default();
    let reply = run_below(root, &ModuleCall { module: module.to_owned(), args, ..ModuleCall::default() });
    match reply.result.get("failed") {
        Some(Value::Bool(true)) => {
            let why = reply.result.get("msg").and_then(Value::as_str).unwrap_or("no reason was given");
            Err(io::Error::other(format!("the lab's user: {why}")))
        }
        _ => Ok(()),
    }
}

fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::modules::call::testing::Bench;

    const ONE: &str = "ssh-ed25519 AAAA lab";
    const TWO: &str = "ssh-ed25519 BBBB ann";

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("etc/shadow", "root:*:1::::::\napp:!:19000:0:99999:7:::\n");
        bench.write("bin/bash", "");
        bench.write("bin/sh", "");
        bench
    }

    fn who(name: &str, keys: &[&str]) -> Identity {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Identity { user: Some(User { name: name.into(), keys, ..User::default() }), ..Identity::default() }
    }

    fn take(bench: &Bench, before: &Identity, now: &Identity) {
        write(bench.root().folder(), before.user.as_ref(), now).unwrap();
    }

    #[test]
    fn an_account_is_made_once_and_changed() {
        let bench = bench();
        let mut ann = who("ann", &[ONE, TWO]);
        let user = ann.user.as_mut().unwrap();
        (user.groups, user.sudo) = (vec!["adm".into(), "docker".into()], true);
        take(&bench, &Identity::default(), &ann);
        let made = ["etc/passwd", "etc/group", "etc/shadow", SUDOERS, "home/ann/.ssh/authorized_keys"].map(|file| bench.read(file));
        assert!(made[0].contains("ann:x:1001:1001::/home/ann:/bin/bash\n"), "{}", made[0]);
        assert!(made[1].contains("adm:x:4:app,ann\n") && made[1].contains("docker:x:999:ann\n"), "{}", made[1]);
        assert!(made[2].contains("ann:*:"), "{}", made[2]);
        assert_eq!(made[3], "ann ALL=(ALL:ALL) NOPASSWD: ALL\n");
        assert_eq!(made[4], format!("{ONE}\n{TWO}\n"));
        assert_eq!(bench.path(SUDOERS).metadata().unwrap().permissions().mode() & 0o777, 0o440);
        // Again: nothing differs.
        take(&bench, &ann, &ann);
        let again = ["etc/passwd", "etc/group", "etc/shadow", SUDOERS, "home/ann/.ssh/authorized_keys"].map(|file| bench.read(file));
        assert_eq!(made, again);
        // What the user did itself stays: another shell, a key of its own.
        bench.write("etc/passwd", bench.read("etc/passwd").replace("/home/ann:/bin/bash", "/home/ann:/bin/sh"));
        bench.write("home/ann/.ssh/authorized_keys", format!("{ONE}\n{TWO}\nssh-ed25519 CCCC own\n"));
        take(&bench, &ann, &who("ann", &[ONE]));
        assert!(bench.read("etc/passwd").contains("/home/ann:/bin/sh\n"));
        assert_eq!(bench.read("home/ann/.ssh/authorized_keys"), format!("{ONE}\nssh-ed25519 CCCC own\n"));
        assert!(!bench.exists(SUDOERS));
    }

    #[test]
    fn an_account_of_the_image_is_used_and_one_that_is_left_is_closed() {
        let bench = bench();
        let app = who("app", &[ONE]);
        take(&bench, &Identity::default(), &app);
        assert!(bench.read("etc/passwd").contains("app:x:1000:1000::/home/app:/bin/sh\n"));
        assert!(bench.read("etc/shadow").contains("app:!:19000:"), "its password is its own");
        take(&bench, &app, &who("bob", &[ONE]));
        assert_eq!(bench.read("home/app/.ssh/authorized_keys"), "");
        assert!(bench.read("etc/passwd").contains("app:x:1000:") && bench.read("etc/passwd").contains("bob:x:1001:"));
        take(&bench, &who("bob", &[ONE]), &Identity::default());
        assert_eq!(bench.read("home/bob/.ssh/authorized_keys"), "");
    }

    #[test]
    fn a_shell_that_is_missing_is_used_once_it_is_there() {
        let bench = bench();
        let mut ann = who("ann", &[ONE]);
        ann.user.as_mut().unwrap().shell = Some("/usr/bin/zsh".into());
        take(&bench, &Identity::default(), &ann);
        assert!(bench.read("etc/passwd").contains("/home/ann:/bin/bash\n"));
        bench.write("usr/bin/zsh", "");
        take(&bench, &ann, &ann);
        assert!(bench.read("etc/passwd").contains("/home/ann:/usr/bin/zsh\n"));
    }

    #[test]
    fn what_goes_wrong_is_told() {
        let bench = bench();
        let why = write(bench.root().folder(), None, &who("a:b", &[ONE])).unwrap_err();
        assert!(why.to_string().contains("the lab's user: useradd: 'a:b' is not a valid user name"), "{why}");
    }
}
