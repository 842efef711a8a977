//! Owner, group and mode of files.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::accounts::passwd;
use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::root::Root;
use crate::modules::call::task::Task;
use crate::modules::files::atomic_write::Attributes;
use crate::modules::files::mode::{Mode, default_mode, octal};

/// An id named by a task; unknown if check mode runs before the task that would create the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    Known(u32),
    Unknown,
}

/// The owner, group and mode that a task asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileArgs {
    pub(crate) mode: Option<Mode>,
    pub(crate) owner: Option<Id>,
    pub(crate) group: Option<Id>,
}

impl FileArgs {
    /// From the arguments `mode`, `owner` and `group`.
    pub(crate) fn parse(task: &Task<'_>) -> Result<Self, Fault> {
        let mode = match task.args.get("mode") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(value) => Some(Mode::parse(value).map_err(Fault::from)?),
        };
        Ok(Self {
            mode,
            owner: owner_id(task.root, task.args.filled("owner"), task.check)?,
            group: group_id(task.root, task.args.filled("group"), task.check)?,
        })
    }

    /// The attributes that a file with `existing` (or a new one) ends up with.
    pub(crate) fn resolve(&self, existing: Option<&Metadata>, folder: bool) -> Attributes {
        let current = existing.map_or(default_mode(folder), |meta| meta.mode() & 0o7777);
        let known = |id: Option<Id>| match id {
            Some(Id::Known(id)) => Some(id),
            _ => None,
        };
        Attributes {
            mode: self.mode.as_ref().map_or(current, |mode| mode.resolve(current, folder)),
            uid: known(self.owner).or(existing.map(Metadata::uid)),
            gid: known(self.group).or(existing.map(Metadata::gid)),
        }
    }

    /// Whether `meta` differs from what is asked for; records the differences in `before` and `after`.
    pub(crate) fn differs(&self, meta: &Metadata, before: &mut Value, after: &mut Value) -> bool {
        let mode = (!meta.is_symlink()).then_some(meta.mode() & 0o7777);
        self.differs_from((meta.uid(), meta.gid()), mode, meta.is_dir(), before, after)
    }

    /// The same for a file that this process would create without being asked for an owner or mode.
    pub(crate) fn differs_from_new(&self, before: &mut Value, after: &mut Value) -> bool {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        self.differs_from(own, Some(default_mode(false)), false, before, after)
    }

    fn differs_from(&self, ids: (u32, u32), mode: Option<u32>, folder: bool, before: &mut Value, after: &mut Value) -> bool {
        let mut differs = false;
        for (key, wanted, current) in [("owner", self.owner, ids.0), ("group", self.group, ids.1)] {
            match wanted {
                Some(Id::Known(id)) if id != current => {
                    before[key] = current.into();
                    after[key] = id.into();
                    differs = true;
                }
                Some(Id::Unknown) => differs = true,
                _ => {}
            }
        }
        if let (Some(mode), Some(current)) = (&self.mode, mode) {
            let wanted = mode.resolve(current, folder);
            if wanted != current {
                before["mode"] = octal(current).into();
                after["mode"] = octal(wanted).into();
                differs = true;
            }
        }
        differs
    }

    /// Gives `path` itself (never a link's target) the owner, group and mode asked for; returns whether that changed anything.
    pub(crate) fn enforce(&self, path: &Path, check: bool, before: &mut Value, after: &mut Value) -> Result<bool, Fault> {
        let meta = fs::symlink_metadata(path).attempt("inspect", path)?;
        if !self.differs(&meta, before, after) {
            return Ok(false);
        }
        if check {
            return Ok(true);
        }
        let wanted = self.resolve(Some(&meta), meta.is_dir());
        if wanted.uid != Some(meta.uid()) || wanted.gid != Some(meta.gid()) {
            lchown(path, wanted.uid, wanted.gid).attempt("change the owner of", path)?;
        }
        if !meta.is_symlink() {
            let now = fs::symlink_metadata(path).attempt("inspect", path)?.mode() & 0o7777;
            if now != wanted.mode {
                fs::set_permissions(path, fs::Permissions::from_mode(wanted.mode)).attempt("change the mode of", path)?;
            }
        }
        Ok(true)
    }
}

/// Id of a user named by name or number.
pub(crate) fn owner_id(root: &Root, name: Option<&str>, check: bool) -> Result<Option<Id>, Fault> {
    let Some(name) = name else { return Ok(None) };
    if let Some(user) = passwd::user(root, name) {
        return Ok(Some(Id::Known(user.uid)));
    }
    match name.parse() {
        Ok(uid) => Ok(Some(Id::Known(uid))),
        Err(_) if check => Ok(Some(Id::Unknown)),
        Err(_) => Err(format!("chown failed: failed to look up user {name}").into()),
    }
}

/// Id of a group named by name or number.
pub(crate) fn group_id(root: &Root, name: Option<&str>, check: bool) -> Result<Option<Id>, Fault> {
    let Some(name) = name else { return Ok(None) };
    if let Some(group) = passwd::group(root, name) {
        return Ok(Some(Id::Known(group.gid)));
    }
    match name.parse() {
        Ok(gid) => Ok(Some(Id::Known(gid))),
        Err(_) if check => Ok(Some(Id::Unknown)),
        Err(_) => Err(format!("chgrp failed: failed to look up group {name}").into()),
    }
}

/// Ansible's name for the kind of file: `absent`, `link`, `directory`, `hard` or `file`.
pub(crate) fn state_of(path: &Path) -> &'static str {
    match fs::symlink_metadata(path) {
        Err(_) => "absent",
        Ok(meta) if meta.is_symlink() => "link",
        Ok(meta) if meta.is_dir() => "directory",
        Ok(meta) if meta.nlink() > 1 && !meta.file_type().is_socket() => "hard",
        Ok(_) => "file",
    }
}

/// `uid`, `gid`, `owner`, `group`, `mode`, `state` and `size` of `path`, as in every result about a file.
pub(crate) fn describe(root: &Root, path: &Path, result: &mut Map<String, Value>) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        result.insert("state".into(), "absent".into());
        return;
    };
    let owner = passwd::user_name(root, meta.uid()).unwrap_or_else(|| meta.uid().to_string());
    let group = passwd::group_name(root, meta.gid()).unwrap_or_else(|| meta.gid().to_string());
    let facts = json!({
        "uid": meta.uid(),
        "gid": meta.gid(),
        "owner": owner,
        "group": group,
        "mode": octal(meta.mode()),
        "state": state_of(path),
        "size": meta.size(),
    });
    if let Value::Object(facts) = facts {
        result.extend(facts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforcing_is_idempotent_and_checking_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "").unwrap();
        let args = FileArgs { mode: Some(Mode::Bits(0o640)), owner: Some(Id::Known(7)), group: None };
        let (mut before, mut after) = (json!({}), json!({}));
        assert!(args.enforce(&path, true, &mut before, &mut after).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
        assert_eq!(after, json!({"owner": 7, "mode": "0640"}));
        assert!(args.enforce(&path, false, &mut before, &mut after).unwrap());
        assert!(!args.enforce(&path, false, &mut before, &mut after).unwrap());
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (7, 0o640));
    }

    #[test]
    fn unknown_names_fail_unless_only_checking() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(owner_id(&root, Some("33"), false).unwrap(), Some(Id::Known(33)));
        assert_eq!(owner_id(&root, Some("nobody-here"), true).unwrap(), Some(Id::Unknown));
        assert_eq!(owner_id(&root, Some("nobody-here"), false).unwrap_err().msg, "chown failed: failed to look up user nobody-here");
    }
}
