//! A user's lines in the account databases.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{group, user_home};
use crate::modules::accounts::account_ids::{self, Space};
use crate::modules::accounts::passwd::{self, Group, User};
use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;

/// Start of the subordinate id ranges and size of the range that useradd(8) gives a user.
const SUB_IDS: (u64, u64) = (100_000, 65_536);

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
}

/// A default of useradd(8), from /etc/default/useradd.
fn default(task: &Task<'_>, key: &str) -> Option<String> {
    std::fs::read_to_string(task.root.join("/etc/default/useradd"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(|v| v.trim().to_owned()))
        .filter(|value| !value.is_empty())
}

/// The group with this name or number; none in check mode if it is missing, because an earlier task may create it.
fn lookup(task: &Task<'_>, name: &str) -> Result<Option<Group>, Fault> {
    let groups = passwd::groups(task.root);
    let number = name.parse::<u32>().ok();
    let found = groups.iter().find(|g| g.name == name).or(groups.iter().find(|g| Some(g.gid) == number));
    match found {
        Some(group) => Ok(Some(group.clone())),
        None if task.check => Ok(None),
        None => Err(format!("Group {name} does not exist").into()),
    }
}

fn unique(task: &Task<'_>, uid: u32, program: &str) -> Result<(), Fault> {
    let name = task.args.str("name");
    let taken = passwd::users(task.root).iter().any(|user| user.uid == uid && user.name != name);
    if taken && !task.args.flag("non_unique") {
        return Err(Fault::from(format!("{program}: UID {uid} is not unique")).with("name", name).with("rc", 4));
    }
    Ok(())
}

/// Creates the account as useradd(8) would.
pub(crate) fn create(task: &Task<'_>) -> Result<(), Fault> {
    let args = &task.args;
    let name = args.str("name");
    let uid = args.int("uid").map(account_ids::valid).transpose()?;
    if let Some(uid) = uid {
        unique(task, uid, "useradd")?;
    }
    let primary = args.filled("group").map(|name| lookup(task, name)).transpose()?;
    let extra: Vec<Option<Group>> = args.list("groups").iter().map(|name| lookup(task, name)).collect::<Result<_, _>>()?;
    if task.check {
        return Ok(());
    }
    let system = args.flag("system");
    let uid = match uid {
        Some(uid) => uid,
        None => account_ids::free(task, Space::Users, system)?,
    };
    let gid = match primary.flatten() {
        Some(group) => group.gid,
        // A group with the user's name already exists: then Ansible does not ask for a group of the user's own.
        None if passwd::group(task.root, name).is_some() => default(task, "GROUP").and_then(|gid| gid.parse().ok()).unwrap_or(100),
        None => {
            let taken = passwd::groups(task.root).iter().any(|group| group.gid == uid);
            let gid = if taken { account_ids::free(task, Space::Groups, system)? } else { uid };
            let own = Group { name: name.into(), password: "x".into(), gid, members: vec![] };
            group::write(task, &own)?;
            gid
        }
    };
    let base = default(task, "HOME").unwrap_or_else(|| "/home".into());
    let user = User {
        name: name.into(),
        password: "x".into(),
        uid,
        gid,
        comment: args.str("comment").into(),
        home: args.filled("home").map_or_else(|| format!("{base}/{name}"), str::to_owned),
        shell: args.filled("shell").map(str::to_owned).or_else(|| default(task, "SHELL")).unwrap_or_else(|| "/bin/sh".into()),
    };
    check_fields(&user)?;
    let limits = |key: &str, default: &str| account_ids::login_setting(task, key).unwrap_or(default.into());
    let (min, max, warn) = if system {
        (String::new(), String::new(), String::new())
    } else {
        (limits("PASS_MIN_DAYS", "0"), limits("PASS_MAX_DAYS", "99999"), limits("PASS_WARN_AGE", "7"))
    };
    let mut fields: Vec<String> = [name, "!", &today().to_string(), &min, &max, &warn, "", "", ""].map(str::to_owned).to_vec();
    shadow_fields(task, &mut fields, true);
    passwd::set_line(task.root, "/etc/shadow", name, Some(&fields.join(":"))).attempt("write", "/etc/shadow")?;
    for group in extra.into_iter().flatten().filter(|group| group.gid != gid) {
        add_member(task, group, name)?;
    }
    if !system {
        for file in ["/etc/subuid", "/etc/subgid"] {
            sub_ids(task, file, name)?;
        }
    }
    // Last: this line makes the account exist.
    passwd::set_line(task.root, "/etc/passwd", name, Some(&user.line())).attempt("write", "/etc/passwd")?;
    let home = task.root.join(&user.home);
    if args.flag("create_home") && !home.exists() {
        user_home::make(task, &user, &user.home)?;
    }
    Ok(())
}

fn check_fields(user: &User) -> Result<(), Fault> {
    for (what, field) in [("comment", &user.comment), ("home", &user.home), ("shell", &user.shell)] {
        if field.contains([':', '\n']) {
            return Err(format!("useradd: invalid {what} '{field}'").into());
        }
    }
    Ok(())
}

fn add_member(task: &Task<'_>, mut group: Group, name: &str) -> Result<(), Fault> {
    if group.members.iter().any(|member| member == name) {
        return Ok(());
    }
    group.members.push(name.to_owned());
    group::write(task, &group)
}

fn sub_ids(task: &Task<'_>, file: &str, name: &str) -> Result<(), Fault> {
    let Ok(text) = std::fs::read_to_string(task.root.join(file)) else {
        return Ok(());
    };
    let end = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1).map(|field| field.parse::<u64>().ok());
        Some(fields.next()?? + fields.next()??)
    });
    let start = end.max().unwrap_or(SUB_IDS.0).max(SUB_IDS.0);
    let line = format!("{name}:{start}:{}", SUB_IDS.1);
    passwd::set_line(task.root, file, name, Some(&line)).attempt("write", file)
}

/// Applies password, lock, expiry and ageing to the fields of a shadow line; returns whether that changed them.
fn shadow_fields(task: &Task<'_>, fields: &mut Vec<String>, new: bool) -> bool {
    let args = &task.args;
    fields.resize(9, String::new());
    let before = fields.clone();
    let bare = |password: &str| password.trim_start_matches('!').to_owned();
    if let Some(password) = args.text("password")
        && (new || args.str("update_password") == "always")
        && bare(password) != bare(&fields[1])
        && !password.contains([':', '\n'])
    {
        fields[1] = password.to_owned();
        fields[2] = today().to_string();
    }
    match args.maybe("password_lock") {
        Some(true) if !fields[1].starts_with('!') => fields[1].insert(0, '!'),
        Some(false) if fields[1].starts_with('!') && fields[1].len() > 1 => {
            fields[1] = bare(&fields[1]);
        }
        _ => {}
    }
    if let Some(expires) = args.float("expires") {
        fields[7] = if expires < 0.0 { String::new() } else { ((expires / 86_400.0) as u64).to_string() };
    }
    for (key, field) in
        [("password_expire_min", 3), ("password_expire_max", 4), ("password_expire_warn", 5), ("password_expire_account_disable", 6)]
    {
        if let Some(days) = args.int(key) {
            fields[field] = days.to_string();
        }
    }
    *fields != before
}

/// Changes the account as usermod(8) would; returns whether anything differed.
pub(crate) fn modify(task: &Task<'_>, user: &User) -> Result<bool, Fault> {
    let args = &task.args;
    let mut new = user.clone();
    if let Some(uid) = args.int("uid").map(account_ids::valid).transpose()? {
        if uid != user.uid {
            unique(task, uid, "usermod")?;
        }
        new.uid = uid;
    }
    let mut pending = false;
    if let Some(name) = args.filled("group") {
        match lookup(task, name)? {
            Some(group) => new.gid = group.gid,
            None => pending = true,
        }
    }
    if let Some(comment) = args.text("comment") {
        new.comment = comment.to_owned();
    }
    if let Some(home) = args.filled("home") {
        new.home = home.to_owned();
    }
    if let Some(shell) = args.filled("shell") {
        new.shell = shell.to_owned();
    }
    check_fields(&new)?;
    let (memberships, unknown) = memberships(task, &new)?;
    let mut shadow = passwd::shadow(task.root, &user.name).unwrap_or_else(|| {
        let mut fields = vec![String::new(); 9];
        fields[0] = user.name.clone();
        fields[1] = user.password.clone();
        fields
    });
    let shadow_changed = shadow_fields(task, &mut shadow, false);
    let changed = pending || unknown || shadow_changed || new != *user || !memberships.is_empty();
    if task.check {
        return Ok(changed);
    }
    for group in &memberships {
        group::write(task, group)?;
    }
    if shadow_changed {
        passwd::set_line(task.root, "/etc/shadow", &user.name, Some(&shadow.join(":"))).attempt("write", "/etc/shadow")?;
    }
    if new != *user {
        if new.home != user.home && args.flag("move_home") {
            user_home::move_to(task, &user.home, &new.home)?;
        }
        passwd::set_line(task.root, "/etc/passwd", &user.name, Some(&new.line())).attempt("write", "/etc/passwd")?;
        if new.uid != user.uid {
            user_home::hand_over(&task.root.join(&new.home), user.uid, new.uid);
        }
    }
    Ok(changed)
}

/// The groups whose members change because of `groups` and `append`, with the changes applied; also whether one is still missing.
fn memberships(task: &Task<'_>, user: &User) -> Result<(Vec<Group>, bool), Fault> {
    if !task.args.has("groups") {
        return Ok((Vec::new(), false));
    }
    let mut wanted = Vec::new();
    let mut unknown = false;
    for name in task.args.list("groups") {
        match lookup(task, &name)? {
            Some(group) if group.gid != user.gid => wanted.push(group.name),
            Some(_) => {}
            None => unknown = true,
        }
    }
    let mut changed = Vec::new();
    for mut group in passwd::groups(task.root) {
        let is = group.members.contains(&user.name);
        let shall = wanted.contains(&group.name);
        if shall && !is {
            group.members.push(user.name.clone());
            changed.push(group);
        } else if is && !shall && !task.args.flag("append") && group.gid != user.gid {
            group.members.retain(|member| *member != user.name);
            changed.push(group);
        }
    }
    Ok((changed, unknown))
}
