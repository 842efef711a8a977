//! Users and groups, read from and written to /etc/passwd, /etc/group and /etc/shadow directly.
//!
//! Writers hold the lock that useradd(8) and glibc's `lckpwdf` take (`/etc/.pwd.lock`, an `fcntl` write lock).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::modules::call::root::Root;
use crate::modules::files::atomic_write::{Attributes, replace};
use crate::modules::text::lossless;

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) comment: String,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A line of /etc/group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

impl User {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':').map(str::to_owned);
        Some(Self {
            name: fields.next()?,
            password: fields.next()?,
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            comment: fields.next()?,
            home: fields.next()?,
            shell: fields.next().unwrap_or_default(),
        })
    }

    /// The line without its line end.
    pub(crate) fn line(&self) -> String {
        let Self { name, password, uid, gid, comment, home, shell } = self;
        format!("{name}:{password}:{uid}:{gid}:{comment}:{home}:{shell}")
    }
}

impl Group {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':').map(str::to_owned);
        Some(Self {
            name: fields.next()?,
            password: fields.next()?,
            gid: fields.next()?.parse().ok()?,
            members: crate::modules::text::comma_list(&fields.next().unwrap_or_default()),
        })
    }

    /// The line without its line end.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}:{}:{}", self.name, self.password, self.gid, self.members.join(","))
    }
}

fn read(root: &Root, path: &str) -> String {
    std::fs::read(root.join(path)).map(|bytes| lossless::decode(&bytes)).unwrap_or_default()
}

/// All users.
pub(crate) fn users(root: &Root) -> Vec<User> {
    read(root, "/etc/passwd").lines().filter_map(User::parse).collect()
}

/// All groups.
pub(crate) fn groups(root: &Root) -> Vec<Group> {
    read(root, "/etc/group").lines().filter_map(Group::parse).collect()
}

/// The user of this name.
pub(crate) fn user(root: &Root, name: &str) -> Option<User> {
    users(root).into_iter().find(|user| user.name == name)
}

/// The group of this name.
pub(crate) fn group(root: &Root, name: &str) -> Option<Group> {
    groups(root).into_iter().find(|group| group.name == name)
}

/// Name of a user id.
pub(crate) fn user_name(root: &Root, uid: u32) -> Option<String> {
    users(root).into_iter().find(|user| user.uid == uid).map(|user| user.name)
}

/// Name of a group id.
pub(crate) fn group_name(root: &Root, gid: u32) -> Option<String> {
    groups(root).into_iter().find(|group| group.gid == gid).map(|group| group.name)
}

/// The fields of a user's line in /etc/shadow.
pub(crate) fn shadow(root: &Root, name: &str) -> Option<Vec<String>> {
    read(root, "/etc/shadow").lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>()).find(|fields| fields[0] == name)
}

/// Ids of all groups that the user is in.
pub(crate) fn group_ids(root: &Root, user: &User) -> Vec<u32> {
    let mut ids = vec![user.gid];
    for group in groups(root) {
        if group.members.contains(&user.name) && !ids.contains(&group.gid) {
            ids.push(group.gid);
        }
    }
    ids
}

/// Sets (or, if none, removes) the line whose first field is `name` in a colon-separated database. All other lines, including malformed
/// ones, are kept. A missing database is left alone unless it is `/etc/passwd` or `/etc/group`.
pub(crate) fn set_line(root: &Root, path: &str, name: &str, line: Option<&str>) -> io::Result<()> {
    let file = root.join(path);
    if !file.exists() && !matches!(path, "/etc/passwd" | "/etc/group") {
        return Ok(());
    }
    let old = read(root, path);
    let mut text = String::with_capacity(old.len() + 80);
    let mut pending = line;
    for existing in old.lines() {
        if existing.split(':').next() == Some(name) {
            if let Some(line) = pending.take() {
                text.push_str(line);
                text.push('\n');
            }
        } else {
            text.push_str(existing);
            text.push('\n');
        }
    }
    if let Some(line) = pending {
        text.push_str(line);
        text.push('\n');
    }
    if text == old {
        return Ok(());
    }
    let attributes = match file.metadata() {
        Ok(meta) => Attributes { mode: meta.mode() & 0o7777, uid: Some(meta.uid()), gid: Some(meta.gid()) },
        Err(_) => Attributes { mode: 0o644, uid: None, gid: None },
    };
    // Like useradd(8), keep the previous version.
    let backup = root.join(format!("{path}-"));
    let old = lossless::encode(&old);
    if file.exists() && std::fs::read(&backup).ok().as_deref() != Some(&old[..]) {
        replace(&backup, &old, &attributes)?;
    }
    replace(&file, &lossless::encode(&text), &attributes)
}

/// The lock on the account databases; released when dropped.
#[derive(Debug)]
pub(crate) struct AccountLock(#[allow(dead_code, reason = "closing it releases the lock")] File);

/// Waits for the lock on the account databases.
pub(crate) fn lock(root: &Root) -> io::Result<AccountLock> {
    // Ordinary fcntl locks are per process and would not exclude the agent's own threads.
    let file = open_lock(&root.join("/etc/.pwd.lock"))?;
    let request =
        libc::flock { l_type: libc::F_WRLCK as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 };
    loop {
        // Open-file-description locks conflict with glibc's process locks and with those of our other threads.
        // SAFETY: the descriptor is open and the structure is valid for the call.
        let rc = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const request) };
        if rc == 0 {
            return Ok(AccountLock(file));
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(
            folder.path().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/bash\n+nis\napp:x:1000:1000:App,,,:/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("etc/group"), "root:x:0:\nadm:x:4:app,other\napp:x:1000:\n").unwrap();
        let root = Root::at(folder.path());
        (folder, root)
    }

    #[test]
    fn reads_users_and_groups() {
        let (_folder, root) = tree();
        let app = user(&root, "app").unwrap();
        assert_eq!((app.uid, app.home.as_str()), (1000, "/home/app"));
        assert_eq!(group_ids(&root, &app), [1000, 4]);
        assert_eq!(user_name(&root, 0).as_deref(), Some("root"));
        assert_eq!(group(&root, "adm").unwrap().members, ["app", "other"]);
    }

    #[test]
    fn a_line_is_set_in_place_and_odd_lines_stay() {
        let (folder, root) = tree();
        let _lock = lock(&root).unwrap();
        let mut app = user(&root, "app").unwrap();
        app.shell = "/bin/bash".into();
        set_line(&root, "/etc/passwd", "app", Some(&app.line())).unwrap();
        set_line(&root, "/etc/passwd", "new", Some("new:x:1:1::/:/bin/sh")).unwrap();
        set_line(&root, "/etc/passwd", "root", None).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("etc/passwd")).unwrap(),
            "+nis\napp:x:1000:1000:App,,,:/home/app:/bin/bash\nnew:x:1:1::/:/bin/sh\n"
        );
        set_line(&root, "/etc/shadow", "new", Some("new:*::")).unwrap();
        assert!(!folder.path().join("etc/shadow").exists());
    }
}
