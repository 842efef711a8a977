//! `file`: files, folders, links, their owners and modes, and their removal.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::beside;
use crate::modules::files::ownership::{FileArgs, describe, state_of};
use crate::modules::files::timestamps::Times;

pub(crate) const MODULE: Module = Module {
    names: &["file"],
    params: &[
        path("path").must().aka(&["dest", "name"]),
        text("state").of(&["absent", "directory", "file", "hard", "link", "touch"]),
        path("src"),
        flag("recurse"),
        flag("force"),
        on("follow"),
        text("modification_time"),
        text("modification_time_format").or("%Y%m%d%H%M.%S"),
        text("access_time"),
        text("access_time_format").or("%Y%m%d%H%M.%S"),
    ],
    files: true,
    run,
};

/// What the function of a state has found and done.
struct Ensured {
    path: PathBuf,
    /// `path` or `dest`, as in Ansible's result.
    key: &'static str,
    changed: bool,
    before: Value,
    after: Value,
    extra: Map<String, Value>,
}

struct Wish<'a> {
    task: &'a Task<'a>,
    path: PathBuf,
    previous: &'static str,
    files: FileArgs,
    times: Times,
    follow: bool,
    force: bool,
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let mut path = args.path("path").unwrap_or_default();
    let asked = args.text("state");
    if !matches!(asked, Some("link" | "absent")) && path.is_dir() {
        let name = args.text("_original_basename").map(str::to_owned).or_else(|| {
            let src = args.path("src")?;
            Some(src.file_name()?.to_string_lossy().into_owned())
        });
        if let Some(name) = name {
            path.push(name);
        }
    }
    let previous = state_of(&path);
    let state = match asked {
        Some(state) => state,
        None if previous != "absent" => previous,
        None if args.flag("recurse") => "directory",
        None => "file",
    };
    if args.flag("recurse") && state != "directory" {
        return Err(at(&path, "recurse option requires state to be 'directory'"));
    }
    if args.has("src") && !matches!(state, "link" | "hard") {
        return Err(at(&path, "src option requires state to be 'link' or 'hard'"));
    }
    let wish = Wish {
        task,
        previous,
        files: task.file_args()?,
        times: Times::parse(task, state == "touch")?,
        follow: args.flag("follow"),
        force: args.flag("force"),
        path,
    };
    let ensured = match state {
        "absent" => absent(&wish)?,
        "directory" => directory(&wish)?,
        "touch" => touch(&wish)?,
        "link" => link(&wish)?,
        "hard" => hard(&wish)?,
        _ => file(&wish)?,
    };
    let mut result = Map::new();
    result.insert("changed".into(), ensured.changed.into());
    result.insert(ensured.key.into(), ensured.path.to_string_lossy().into());
    result.extend(ensured.extra);
    describe(task.root, &ensured.path, &mut result);
    task.put_diff(&mut result, || json!({"before": ensured.before, "after": ensured.after}));
    Ok(Done::from(result))
}

fn at(path: &Path, msg: impl Into<String>) -> Fault {
    Fault::from(msg.into()).with("path", path.to_string_lossy())
}

impl Wish<'_> {
    fn ensured(&self, path: &Path, key: &'static str, state: &str) -> Ensured {
        let mut before = json!({"path": path.to_string_lossy()});
        let mut after = before.clone();
        if self.previous != state {
            before["state"] = self.previous.into();
            after["state"] = state.into();
        }
        Ensured { path: path.to_owned(), key, changed: false, before, after, extra: Map::new() }
    }

    fn attributes(&self, path: &Path, ensured: &mut Ensured) -> Result<(), Fault> {
        let check = self.task.check;
        let Ensured { before, after, .. } = ensured;
        let mut changed = self.files.enforce(path, check, before, after)?;
        changed |= self.times.enforce(path, check, before, after)?;
        ensured.changed |= changed;
        Ok(())
    }

    /// The path itself, or what it points to if links are followed.
    fn followed(&self) -> PathBuf {
        if self.follow && self.previous == "link" {
            return real_path(&self.path);
        }
        self.path.clone()
    }
}

/// The final target of a link, even if nothing exists there.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("/")).join(target),
        Err(_) => path.to_owned(),
    }
}

fn absent(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let mut ensured = wish.ensured(&wish.path, "path", "absent");
    ensured.changed = wish.previous != "absent";
    if !ensured.changed || wish.task.check {
        return Ok(ensured);
    }
    let removed = match wish.previous {
        "directory" => fs::remove_dir_all(&wish.path),
        _ => fs::remove_file(&wish.path),
    };
    match removed {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            let what = if wish.previous == "directory" { "rmtree failed" } else { "unlinking failed" };
            Err(at(&wish.path, format!("{what}: {}: {err}", wish.path.display())))
        }
        _ => Ok(ensured),
    }
}

fn file(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let path = wish.followed();
    let state = state_of(&path);
    if !matches!(state, "file" | "hard") {
        let shown = path.display();
        return Err(at(&path, format!("file ({shown}) is {state}, cannot continue")).with("state", state));
    }
    let mut ensured = Ensured { before: json!({}), after: json!({}), ..wish.ensured(&path, "path", "file") };
    ensured.before["path"] = path.to_string_lossy().into();
    ensured.after["path"] = path.to_string_lossy().into();
    wish.attributes(&path, &mut ensured)?;
    Ok(ensured)
}

fn touch(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let mut ensured = wish.ensured(&wish.path, "dest", "touch");
    if wish.previous == "absent" {
        ensured.changed = true;
        if wish.task.check {
            return Ok(ensured);
        }
        crate::modules::files::atomic_write::replace(&wish.path, b"", &wish.files.resolve(None, false)).attempt("touch", &wish.path)?;
    }
    let path = wish.followed();
    wish.attributes(&path, &mut ensured)?;
    Ok(ensured)
}

fn directory(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let path = wish.followed();
    let previous = state_of(&path);
    let mut ensured = wish.ensured(&path, "path", "directory");
    match previous {
        "absent" => {
            ensured.changed = true;
            if wish.task.check {
                return Ok(ensured);
            }
            let mut made = PathBuf::new();
            for part in path.components() {
                made.push(part);
                if made.as_os_str().is_empty() || made.is_dir() {
                    continue;
                }
                match fs::create_dir(&made) {
                    Err(err) if !made.is_dir() => {
                        let shown = made.display();
                        return Err(at(&path, format!("There was an issue creating {shown} as requested: {err}")));
                    }
                    _ => wish.attributes(&made, &mut ensured)?,
                }
            }
            Ok(ensured)
        }
        "directory" => {
            wish.attributes(&path, &mut ensured)?;
            if wish.task.args.flag("recurse") {
                recurse(wish, &path, &mut ensured, 0)?;
            }
            Ok(ensured)
        }
        other => Err(at(&path, format!("{} already exists as a {other}", path.display()))),
    }
}

/// Deepest nesting that is walked: links that are followed may form a loop.
const DEEPEST: usize = 64;

fn recurse(wish: &Wish<'_>, folder: &Path, ensured: &mut Ensured, depth: usize) -> Result<(), Fault> {
    if depth > DEEPEST {
        return Err(at(folder, format!("Could not recursively set attributes on {}: too deep", folder.display())));
    }
    for entry in fs::read_dir(folder).attempt("list", folder)? {
        let path = entry.attempt("list", folder)?.path();
        // As in Ansible, the diff does not show differences below the folder itself.
        let (mut before, mut after) = (json!({}), json!({}));
        let check = wish.task.check;
        ensured.changed |= wish.files.enforce(&path, check, &mut before, &mut after)?;
        let meta = fs::symlink_metadata(&path).attempt("inspect", &path)?;
        if meta.is_symlink() {
            if wish.follow && path.exists() {
                let target = real_path(&path);
                if target.is_dir() {
                    recurse(wish, &target, ensured, depth + 1)?;
                }
                ensured.changed |= wish.files.enforce(&target, check, &mut before, &mut after)?;
            }
        } else if meta.is_dir() {
            recurse(wish, &path, ensured, depth + 1)?;
        }
    }
    Ok(())
}

fn link(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let path = &wish.path;
    let shown = path.display();
    let mut src = wish.task.args.path("src");
    if src.is_none() && wish.follow && path.exists() {
        src = fs::read_link(path).ok();
    }
    let is_folder = wish.previous == "directory";
    let base = if is_folder { path.clone() } else { path.parent().unwrap_or(Path::new("/")).to_owned() };
    if let Some(src) = &src
        && !wish.force
        && !base.join(src).exists()
        && !wish.task.check
    {
        return Err(at(
            path,
            format!("src file does not exist, use 'force=yes' if you really want to create the link: {}", base.join(src).display()),
        )
        .with("src", src.to_string_lossy()));
    }
    match wish.previous {
        "directory" | "file" | "hard" if !wish.force => {
            return Err(at(path, format!("refusing to convert from {} to symlink for {shown}", wish.previous)));
        }
        "directory" if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) => {
            return Err(at(path, format!("the directory {shown} is not empty, refusing to convert it")));
        }
        _ => {}
    }
    let mut ensured = wish.ensured(path, "dest", "link");
    if wish.previous == "link" {
        let old = fs::read_link(path).attempt("read the link", path)?;
        if let Some(src) = &src
            && *src != old
        {
            ensured.before["src"] = old.to_string_lossy().into();
            ensured.after["src"] = src.to_string_lossy().into();
            ensured.changed = true;
        }
    } else {
        ensured.changed = true;
    }
    let Some(src) = src.or_else(|| fs::read_link(path).ok()) else {
        return Err("src is required for creating new symlinks".into());
    };
    ensured.extra.insert("src".into(), src.to_string_lossy().into());
    if ensured.changed && !wish.task.check {
        let temporary = beside(path);
        symlink(&src, &temporary).attempt("link", path)?;
        if is_folder {
            fs::remove_dir(path).attempt("replace", path)?;
        }
        fs::rename(&temporary, path).attempt("replace", path).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })?;
    }
    if wish.task.check && ensured.changed {
        return Ok(ensured);
    }
    let target = if wish.follow { real_path(path) } else { path.clone() };
    if target.symlink_metadata().is_ok() {
        wish.attributes(&target, &mut ensured)?;
    } else if wish.files.mode.is_some() || wish.files.owner.is_some() || wish.files.group.is_some() {
        ensured.extra.insert(
            "warnings".into(),
            json!(["Cannot set fs attributes on a non-existent symlink target. follow should be set to False to avoid this."]),
        );
    }
    Ok(ensured)
}

fn hard(wish: &Wish<'_>) -> Result<Ensured, Fault> {
    let path = &wish.path;
    let src = wish.task.args.path("src");
    let inode = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let mut ensured = wish.ensured(path, "dest", "hard");
    match &src {
        None if wish.previous != "hard" => {
            return Err("src is required for creating new hardlinks".into());
        }
        None => {}
        Some(src) => {
            if !src.exists() && !wish.task.check {
                return Err(Fault::from("src does not exist").with("dest", path.to_string_lossy()).with("src", src.to_string_lossy()));
            }
            ensured.changed = wish.previous == "absent" || inode(path) != inode(src);
            if ensured.changed && !wish.force && !matches!(wish.previous, "absent" | "link") {
                let what = if wish.previous == "file" { "file" } else { "different hard link" };
                return Err(Fault::from(format!("Cannot link, {what} exists at destination"))
                    .with("dest", path.to_string_lossy())
                    .with("src", src.to_string_lossy()));
            }
            ensured.extra.insert("src".into(), src.to_string_lossy().into());
            if ensured.changed && !wish.task.check {
                let temporary = beside(path);
                let real = if wish.follow { real_path(src) } else { src.clone() };
                fs::hard_link(&real, &temporary).attempt("link", path)?;
                fs::rename(&temporary, path).attempt("replace", path).inspect_err(|_| {
                    let _ = fs::remove_file(&temporary);
                })?;
            }
        }
    }
    if path.exists() {
        wish.attributes(path, &mut ensured)?;
    }
    Ok(ensured)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
