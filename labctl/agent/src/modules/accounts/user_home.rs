//! Home folders.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

use crate::modules::accounts::account_ids::login_setting;
use crate::modules::accounts::passwd::User;
use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;

/// Creates `home` from the skeleton, owned by the user.
pub(crate) fn make(task: &Task<'_>, user: &User, home: &str) -> Result<(), Fault> {
    let path = task.root.join(home);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    let octal = |text: &str| u32::from_str_radix(text, 8).ok();
    let umask = task.args.filled("umask").and_then(octal);
    let mode = match umask {
        Some(umask) => 0o777 & !umask,
        None => login_setting(task, "HOME_MODE")
            .as_deref()
            .and_then(octal)
            .unwrap_or_else(|| 0o777 & !login_setting(task, "UMASK").as_deref().and_then(octal).unwrap_or(0o022)),
    };
    let skeleton = task.args.filled("skeleton").unwrap_or("/etc/skel");
    // Under a temporary name until it is complete: an existing home is never filled again.
    let temporary = crate::modules::files::atomic_write::beside(&path);
    let made = fs::create_dir(&temporary)
        .and_then(|()| copy(&task.root.join(skeleton), &temporary, user))
        .and_then(|()| fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)))
        .and_then(|()| chown(&temporary, Some(user.uid), Some(user.gid)))
        .and_then(|()| fs::rename(&temporary, &path));
    made.attempt("create the home", &path).inspect_err(|_| {
        let _ = fs::remove_dir_all(&temporary);
    })
}

fn copy(from: &Path, to: &Path, user: &User) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target, user)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
        lchown(&target, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Moves a home; does nothing if there is none or the new path exists.
pub(crate) fn move_to(task: &Task<'_>, from: &str, to: &str) -> Result<(), Fault> {
    let (from, to) = (task.root.join(from), task.root.join(to));
    if !from.is_dir() || to.exists() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).attempt("create the folder", parent)?;
    }
    fs::rename(&from, &to).attempt("move the home to", &to)
}

/// Changes the owner of everything in the home that belongs to `old` to `new`.
pub(crate) fn hand_over(folder: &Path, old: u32, new: u32) {
    let owned = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == old);
    if owned(folder) {
        let _ = lchown(folder, Some(new), None);
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            hand_over(&entry.path(), old, new);
        } else if owned(&entry.path()) {
            let _ = lchown(entry.path(), Some(new), None);
        }
    }
}

/// Creates a folder that only the user may enter, such as `.ssh`.
pub(crate) fn private_folder(path: &Path, user: &User) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    chown(path, Some(user.uid), Some(user.gid))
}
