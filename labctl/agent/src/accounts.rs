//! Users and groups of the guest, read from /etc/passwd and /etc/group: a static program has no name service switch.

use std::fs;
use std::io;
use std::path::Path;

/// A user's entry in /etc/passwd (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Primary and supplementary groups.
    pub groups: Vec<u32>,
}

/// Finds a user by name or number below the root folder `root`.
pub fn find(root: &Path, user: &str) -> io::Result<Account> {
    let passwd = fs::read_to_string(root.join("etc/passwd"))?;
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 7 && (fields[0] == user || fields[2] == user))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no user `{user}`")))?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| io::Error::other(format!("/etc/passwd: bad number for `{user}`")));
    let (uid, gid) = (number(fields[2])?, number(fields[3])?);
    let mut groups = vec![gid];
    for line in fs::read_to_string(root.join("etc/group")).unwrap_or_default().lines() {
        let entry: Vec<&str> = line.split(':').collect();
        if entry.len() >= 4 && entry[3].split(',').any(|member| member == fields[0]) {
            groups.extend(entry[2].parse::<u32>().ok().filter(|id| *id != gid));
        }
    }
    Ok(Account { name: fields[0].into(), uid, gid, home: fields[5].into(), shell: fields[6].into(), groups })
}

/// Finds a group's id by name or number below the root folder `root`.
pub fn group_id(root: &Path, group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = fs::read_to_string(root.join("etc/group"))?;
    groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|entry| entry.len() >= 3 && entry[0] == group)
        .and_then(|entry| entry[2].parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no group `{group}`")))
}

/// Finds a user's id by name or number below the root folder `root`.
pub fn user_id(root: &Path, user: &str) -> io::Result<u32> {
    user.parse().or_else(|_| find(root, user).map(|account| account.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passwd_and_group() {
        let root = std::env::temp_dir().join(format!("labctl-accounts-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001:,,,:/home/ann:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nann:x:1001:\nadm:x:4:syslog,ann\n").unwrap();
        let ann = find(&root, "ann").unwrap();
        assert_eq!((ann.uid, ann.gid, ann.home.as_str(), ann.groups), (1000, 1001, "/home/ann", vec![1001, 4]));
        assert_eq!(find(&root, "1000").unwrap().name, "ann");
        assert_eq!(find(&root, "bob").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(group_id(&root, "adm").unwrap(), 4);
        assert_eq!(user_id(&root, "77").unwrap(), 77);
        fs::remove_dir_all(root).unwrap();
    }
}
