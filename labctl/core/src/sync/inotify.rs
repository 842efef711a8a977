//! Changes as Linux reports them (inotify(7)): one watch for each folder that is not left out, and one for each folder above, because the
//! synced folder itself may be replaced, and what it is in may be renamed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use labctl_spec::lab::Sync;
use labctl_tree::Rules;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::changes::{Change, Changed};
use super::{RULES, tree};

/// What is of interest. A file that is written is reported when it is closed: half of it helps nobody.
const WANTED: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::EXCL_UNLINK);

/// What is of interest in the folders above: which folder or file has the name that leads to the synced one.
const ABOVE: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVE).union(WatchFlags::ONLYDIR);

/// As many links on a way are followed as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Quiet that ends a burst of changes: what an editor does to save a file belongs together.
const CALM: Duration = Duration::from_millis(15);

/// Longest burst that is waited for.
const BURST: Duration = Duration::from_millis(60);

/// Watches a folder or a file.
pub struct Changes {
    sync: Sync,
    rules: Rules,
    watcher: AsyncFd<OwnedFd>,
    /// Watched folders below the synced one, by watch.
    folders: HashMap<i32, PathBuf>,
    /// Watches of the folders above, with the names in them that lead to the synced one.
    above: HashMap<i32, HashSet<OsString>>,
    /// Whether the watches must be made anew.
    stale: bool,
}

impl Changes {
    /// Begins to watch.
    pub fn watch(sync: &Sync, rules: Rules) -> io::Result<Self> {
        let watcher = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|why| match why {
            rustix::io::Errno::MFILE => io::Error::other(
                "this user's programs watch too many folders; raise the limit: sudo sysctl -w fs.inotify.max_user_instances=1024",
            ),
            why => why.into(),
        })?;
        let above = above(&watcher, &sync.from)?;
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        let watcher = unsafe { AsyncFd::register_with_interest(watcher, tokio::io::Interest::READABLE) }?;
        let mut changes = Self { sync: sync.clone(), rules, watcher, folders: HashMap::new(), above, stale: false };
        changes.enter(Path::new(""))?;
        Ok(changes)
    }

    /// Watches a folder and all below it. What vanishes meanwhile is reported by the folder above it.
    fn enter(&mut self, path: &Path) -> io::Result<()> {
        let place = if path.as_os_str().is_empty() { self.sync.from.clone() } else { self.sync.from.join(path) };
        // The synced folder may be given as a link; no other one is followed.
        let follow = if path.as_os_str().is_empty() { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
        match inotify::add_watch(self.watcher.get_ref(), &place, WANTED | WatchFlags::ONLYDIR | follow) {
            Ok(watch) => self.folders.insert(watch, path.to_owned()),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => return Ok(()),
            Err(rustix::io::Errno::NOSPC) => {
                let why = "there are too many folders to watch; raise the limit: sudo sysctl -w fs.inotify.max_user_watches=524288";
                return Err(io::Error::other(why));
            }
            Err(why) => return Err(why.into()),
        };
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = path.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !self.rules.exclude(&path, true) {
                self.enter(&path)?;
            }
        }
        Ok(())
    }

    /// Stops watching a folder that has another name now, and all below it.
    fn leave(&mut self, path: &Path) {
        let left: Vec<i32> = self.folders.iter().filter(|(_, folder)| folder.starts_with(path)).map(|(watch, _)| *watch).collect();
        for watch in left {
            self.folders.remove(&watch);
            // The kernel has removed it already if the folder is gone.
            let _ = inotify::remove_watch(self.watcher.get_ref(), watch);
        }
    }

    /// Waits for changes; those of a burst are reported together.
    pub async fn next(&mut self) -> io::Result<Changed> {
        let mut change = Change::none();
        while change.is_none() {
            self.more(&mut change).await?;
        }
        let burst = async {
            while let Ok(more) = timeout(CALM, self.more(&mut change)).await {
                more?;
            }
            Ok(())
        };
        // However long it lasts, what is known by then is reported.
        timeout(BURST, burst).await.unwrap_or(Ok::<(), io::Error>(()))?;
        if std::mem::take(&mut self.stale) {
            // A mistake in the rules is reported by whoever looks at the whole folder next; until then the old ones hold.
            let rules = tree::rules(&self.sync).unwrap_or_else(|_| self.rules.clone());
            *self = Self::watch(&self.sync.clone(), rules)?;
            change = Change::All;
        }
        Ok(Changed { change, rules: self.rules.clone() })
    }

    /// Adds the next events that are there.
    async fn more(&mut self, change: &mut Change) -> io::Result<()> {
        let mut ready = self.watcher.readable().await?;
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(ready.get_inner(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
                    events.push((event.wd(), event.events(), name));
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        ready.clear_ready();
        drop(ready);
        for (watch, what, name) in events {
            self.take(watch, what, name, change)?;
        }
        Ok(())
    }

    fn take(&mut self, watch: i32, what: ReadFlags, name: Option<PathBuf>, change: &mut Change) -> io::Result<()> {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.stale = true;
            *change = Change::All;
            return Ok(());
        }
        if let Some(names) = self.above.get(&watch) {
            let leads = name.as_ref().is_some_and(|name| names.contains(name.as_os_str()));
            // A single file has no watch of its own.
            let changed = self.folders.is_empty()
                || what.intersects(ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_TO | ReadFlags::MOVED_FROM);
            if leads && changed {
                self.stale = true;
                *change = Change::All;
            }
            // A synced folder that is given as a link may hold the link.
            if !self.folders.contains_key(&watch) {
                return Ok(());
            }
        }
        if what.contains(ReadFlags::IGNORED) {
            self.folders.remove(&watch);
            return Ok(());
        }
        let Some(folder) = self.folders.get(&watch) else { return Ok(()) };
        let Some(name) = name else {
            if folder.as_os_str().is_empty() {
                *change = Change::All;
            }
            return Ok(());
        };
        let path = folder.join(name);
        let is_folder = what.contains(ReadFlags::ISDIR);
        if path == Path::new(RULES) {
            self.stale = true;
        }
        if self.rules.exclude_within(&path, is_folder) {
            return Ok(());
        }
        if is_folder && what.contains(ReadFlags::MOVED_FROM) {
            self.leave(&path);
        }
        if is_folder && what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            self.enter(&path)?;
        }
        change.add(&Change::Paths(BTreeSet::from([path])));
        Ok(())
    }
}

/// Watches the folders on the way to a path. Those that do not exist, or that may not be read, are left out: a folder above them is watched.
fn above(watcher: &OwnedFd, path: &Path) -> io::Result<HashMap<i32, HashSet<OsString>>> {
    let mut watches: HashMap<i32, HashSet<OsString>> = HashMap::new();
    let way = way(path);
    for (at, (folder, name)) in way.iter().enumerate() {
        let wanted = if at + 1 == way.len() { WANTED } else { ABOVE };
        match inotify::add_watch(watcher, folder, wanted | WatchFlags::MASK_ADD) {
            Ok(watch) => drop(watches.entry(watch).or_default().insert(name.clone())),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(watches)
}

/// The names on the way to an absolute path, each with the folder that it is in. Links are followed, also where they lead to nothing now.
fn way(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut way = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut rest: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => folder = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(folder.pop()),
            Some(Component::Normal(_)) => {
                way.push((folder.clone(), name.clone()));
                match std::fs::read_link(folder.join(&name)) {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        rest.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                    }
                    _ => folder.push(name),
                }
            }
            _ => {}
        }
    }
    way
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Waits until all of these have been reported, in however many bursts; returns everything that was.
    async fn seen(changes: &mut Changes, wanted: &[&str]) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        while !wanted.iter().all(|wanted| all.contains(*wanted)) {
            match changes.next().await.unwrap().change {
                Change::All => drop(all.insert("everything".to_owned())),
                Change::Paths(paths) => all.extend(paths.iter().map(|path| path.display().to_string())),
            }
        }
        all
    }

    #[tokio::test]
    async fn changes_are_seen_wherever_they_happen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("from").join(name);
        for name in ["a/b", "out", "old"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path(".labctlignore"), "/out/\n").unwrap();
        let text = "name: a\nnodes: [{name: n, sync: [{from: from, to: /srv, exclude: ['*.swp']}]}]\n";
        let lab = labctl_spec::parse_lab(text, &folder.path().join("lab.yml")).unwrap();
        let sync = &lab.nodes[0].sync[0];
        let mut changes = Changes::watch(sync, tree::rules(sync).unwrap()).unwrap();

        fs::write(path("out/x"), "").unwrap();
        fs::write(path("a/.one.swp"), "").unwrap();
        fs::write(path("a/b/one"), "1").unwrap();
        let all = seen(&mut changes, &["a/b/one"]).await;
        assert_eq!(all, BTreeSet::from(["a/b/one".to_owned()]), "what is left out is not reported");
        // As an editor saves.
        fs::write(path("a/b/one~"), "2").unwrap();
        fs::rename(path("a/b/one~"), path("a/b/one")).unwrap();
        seen(&mut changes, &["a/b/one", "a/b/one~"]).await;
        fs::create_dir_all(path("new/deep")).unwrap();
        seen(&mut changes, &["new"]).await;
        // A new folder is watched.
        fs::write(path("new/deep/file"), "").unwrap();
        seen(&mut changes, &["new/deep/file"]).await;
        fs::rename(path("new"), path("old/moved")).unwrap();
        seen(&mut changes, &["new", "old/moved"]).await;
        // So is one with a new name.
        fs::write(path("old/moved/deep/file"), "2").unwrap();
        seen(&mut changes, &["old/moved/deep/file"]).await;
        fs::remove_dir_all(path("old")).unwrap();
        seen(&mut changes, &["old"]).await;
        // Rules can change.
        fs::write(path(".labctlignore"), "").unwrap();
        seen(&mut changes, &["everything"]).await;
        fs::write(path("out/y"), "").unwrap();
        seen(&mut changes, &["out/y"]).await;
        // As git does when it changes branches.
        fs::rename(folder.path().join("from"), folder.path().join("aside")).unwrap();
        fs::create_dir(folder.path().join("from")).unwrap();
        seen(&mut changes, &["everything"]).await;
        fs::write(path("fresh"), "").unwrap();
        seen(&mut changes, &["fresh"]).await;
    }

    #[tokio::test]
    async fn a_folder_above_can_be_renamed_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("real/project/from")).unwrap();
        std::os::unix::fs::symlink("real", path("link")).unwrap();
        let text = "name: a\nnodes: [{name: n, sync: [{from: from, to: /srv}]}]\n";
        let lab = labctl_spec::parse_lab(text, &path("link/project/lab.yml")).unwrap();
        let sync = &lab.nodes[0].sync[0];
        let mut changes = Changes::watch(sync, Rules::default()).unwrap();
        // The folder above, then one above that, behind a link. It is looked at as a whole, and found to be gone.
        for (old, new) in [("link/project", "link/other"), ("real", "elsewhere")] {
            fs::rename(path(old), path(new)).unwrap();
            seen(&mut changes, &["everything"]).await;
            fs::rename(path(new), path(old)).unwrap();
            seen(&mut changes, &["everything"]).await;
            // What is there now is watched.
            fs::write(path("link/project/from").join(new.replace('/', "-")), "").unwrap();
            seen(&mut changes, &[&new.replace('/', "-")]).await;
        }
        // Another folder takes its name.
        fs::create_dir_all(path("second/from")).unwrap();
        fs::rename(path("real/project"), path("first")).unwrap();
        fs::rename(path("second"), path("real/project")).unwrap();
        seen(&mut changes, &["everything"]).await;
        fs::write(path("first/from/not-this"), "").unwrap();
        fs::write(path("real/project/from/this"), "").unwrap();
        let all = seen(&mut changes, &["this"]).await;
        assert!(!all.contains("not-this"), "{all:?}");
    }

    #[tokio::test]
    async fn a_single_file_can_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let text = "name: a\nnodes: [{name: n, sync: [{from: file, to: /srv/file}]}]\n";
        let lab = labctl_spec::parse_lab(text, &folder.path().join("lab.yml")).unwrap();
        let sync = &lab.nodes[0].sync[0];
        let mut changes = Changes::watch(sync, Rules::default()).unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        fs::write(folder.path().join("file"), "1").unwrap();
        seen(&mut changes, &["everything"]).await;
        fs::write(folder.path().join("file2"), "2").unwrap();
        fs::rename(folder.path().join("file2"), folder.path().join("file")).unwrap();
        seen(&mut changes, &["everything"]).await;
    }
}
