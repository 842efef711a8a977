//! Unit files and their states, read from disk as `systemctl list-unit-files` reports them.
//!
//! systemd itself takes 18 s to answer this in an emulated guest, because it reads every folder again for every file. The single pass
//! here follows its install.c (version 252, `unit_file_lookup_state`): the first file of a name in the search path counts; links show
//! whether it is masked, an alias or enabled; its `[Install]` section shows what it could be.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::install_section::Install;

/// Where systemd looks for units of the system, first match first (systemd.unit(5)), and what kind of folder each is.
const SEARCH: [(&str, Kind); 13] = [
    ("/etc/systemd/system.control", Kind::Lasting),
    ("/run/systemd/system.control", Kind::Runtime),
    ("/run/systemd/transient", Kind::Transient),
    ("/run/systemd/generator.early", Kind::Generator),
    ("/etc/systemd/system", Kind::Configuration),
    ("/etc/systemd/system.attached", Kind::Lasting),
    ("/run/systemd/system", Kind::Runtime),
    ("/run/systemd/system.attached", Kind::Runtime),
    ("/run/systemd/generator", Kind::Generator),
    ("/usr/local/lib/systemd/system", Kind::Lasting),
    ("/lib/systemd/system", Kind::Lasting),
    ("/usr/lib/systemd/system", Kind::Lasting),
    ("/run/systemd/generator.late", Kind::Generator),
];

/// Longest chain of links that is followed.
const HOPS: usize = 16;

/// The role of a folder in the search path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Where `systemctl enable` makes links.
    Configuration,
    /// Removed by a reboot.
    Runtime,
    Transient,
    Generator,
    Lasting,
}

impl Kind {
    fn is_runtime(self) -> bool {
        matches!(self, Self::Runtime | Self::Transient | Self::Generator)
    }
}

/// Whether the unit is enabled in the usual way: its file is a file, and a link in /etc makes a target want it that it says should. If not,
/// it may still be enabled; only [`UnitFiles::state`] knows, at a hundred times the cost.
pub(crate) fn is_plainly_enabled(root: &Path, name: &str) -> bool {
    let under = |path: &str| root.join(path.trim_start_matches('/'));
    let files = SEARCH.iter().map(|(folder, kind)| (under(folder).join(name), kind));
    let first = files.filter_map(|(path, kind)| Some((fs::symlink_metadata(&path).ok()?, path, kind))).next();
    let Some((meta, path, kind)) = first else { return false };
    if !meta.is_file() || meta.len() == 0 || matches!(kind, Kind::Generator | Kind::Transient) {
        return false;
    }
    let mut install = Install::default();
    install.read(&path);
    let links = under("/etc/systemd/system");
    install.folders().any(|folder| links.join(folder).join(name).is_symlink())
}

/// A link to a unit.
#[derive(Debug)]
struct Link {
    kind: Kind,
    name: String,
    /// The name of the link's target; none within `.wants` and `.requires`, where only the link's own name counts.
    target: Option<String>,
}

/// A file's state, and the unit that it is an alias of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// `enabled`, `disabled`, `static`, `masked`, `alias`, `indirect`, `generated`, `linked` ...
    pub(crate) state: &'static str,
    /// The unit's real name if `state` is `alias`.
    pub(crate) alias_of: Option<String>,
}

/// The folders of the search path, read once.
pub(crate) struct UnitFiles {
    root: PathBuf,
    /// The first file of each name: its path and its folder's kind.
    files: BTreeMap<String, (PathBuf, Kind)>,
    links: Vec<Link>,
    /// Folders of drop-in files, such as `ssh.service.d`, in the order in which their files apply: the first of the search path last.
    drop_ins: Vec<PathBuf>,
}

impl UnitFiles {
    /// Reads the folders of the system under `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut all = Self { root: root.to_owned(), files: BTreeMap::new(), links: Vec::new(), drop_ins: Vec::new() };
        let mut seen = HashSet::new();
        for (path, kind) in SEARCH {
            let folder = all.under(Path::new(path));
            // With a merged /usr two of them are the same.
            let Ok(real) = fs::canonicalize(&folder) else { continue };
            if seen.insert(real) {
                all.read_folder(&folder, kind);
            }
        }
        all.drop_ins.reverse();
        all
    }

    fn under(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn read_folder(&mut self, folder: &Path, kind: Kind) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (Ok(name), Ok(file_type)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            let path = entry.path();
            if file_type.is_dir() {
                if name.ends_with(".d") {
                    self.drop_ins.push(path);
                } else if name.ends_with(".wants") || name.ends_with(".requires") {
                    let links = fs::read_dir(&path).into_iter().flatten().flatten();
                    let links = links.filter(|entry| entry.file_type().is_ok_and(|file_type| file_type.is_symlink()));
                    self.links
                        .extend(links.filter_map(|entry| Some(Link { kind, name: entry.file_name().into_string().ok()?, target: None })));
                }
                continue;
            }
            if file_type.is_symlink()
                && let Ok(target) = fs::read_link(&path)
                && let Some(target) = target.file_name()
            {
                self.links.push(Link { kind, name: name.clone(), target: Some(target.to_string_lossy().into_owned()) });
            }
            self.files.entry(name).or_insert((path, kind));
        }
    }

    /// Names of all unit files of this kind (`.service`).
    pub(crate) fn names(&self, suffix: &str) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str).filter(move |name| name.ends_with(suffix))
    }

    /// The file's state; none if there is no file of this name, or its link is dangling.
    pub(crate) fn state(&self, name: &str) -> Option<UnitFile> {
        let (first, kind) = self.files.get(name)?;
        let plain = |state| Some(UnitFile { state, alias_of: None });
        let mut path = first.clone();
        let mut linked = false;
        for _ in 0..HOPS {
            let Ok(target) = fs::read_link(&path) else { break };
            linked = true;
            path = if target.is_absolute() { self.under(&target) } else { path.parent()?.join(target) };
            if path == self.under(Path::new("/dev/null")) {
                return plain(if kind.is_runtime() { "masked-runtime" } else { "masked" });
            }
        }
        let meta = fs::metadata(&path).ok()?;
        if meta.is_file() && meta.len() == 0 {
            return plain(if kind.is_runtime() { "masked-runtime" } else { "masked" });
        }
        let real = path.file_name()?.to_str()?;
        if real != name && template(name).as_deref() != Some(real) {
            return Some(UnitFile { state: "alias", alias_of: Some(real.to_owned()) });
        }
        match kind {
            Kind::Generator => return plain("generated"),
            Kind::Transient => return plain("transient"),
            _ => {}
        }
        let mut install = Install::default();
        install.read(&path);
        let own = format!("{name}.d");
        for folder in self.drop_ins.iter().filter(|folder| folder.ends_with(&own)) {
            install.read_drop_ins(folder);
        }
        plain(self.judge(name, &install, linked.then_some(*kind)))
    }

    /// The state of a file that is neither masked nor an alias. `linked` is the kind of the folder that has a link of the same name to
    /// the file.
    fn judge(&self, name: &str, install: &Install, linked: Option<Kind>) -> &'static str {
        let known = install.names(name);
        let mut runtime = false;
        let mut lasting = false;
        let mut indirect = false;
        for link in &self.links {
            let found = match &link.target {
                // The file's own link does not show that it is enabled.
                Some(target) => target == name && link.name != name,
                None => link.name == name || template(&link.name).as_deref() == Some(name),
            };
            if !found {
                continue;
            }
            let counts = known.contains(&link.name);
            indirect |= link.kind == Kind::Configuration || link.kind.is_runtime();
            match link.kind {
                Kind::Configuration if counts => return "enabled",
                kind if kind.is_runtime() => runtime |= counts,
                _ => lasting |= counts,
            }
        }
        let is_instance = template(name).is_some();
        match linked {
            _ if runtime => "enabled-runtime",
            _ if lasting && is_instance => "static",
            Some(kind) if kind.is_runtime() => "linked-runtime",
            Some(Kind::Configuration) => "linked",
            _ if indirect => "indirect",
            _ if install.has_rules() => "disabled",
            _ if install.has_also() => "indirect",
            _ => "static",
        }
    }
}

/// `a@.service` for `a@b.service`; none if the name is not that of an instance.
fn template(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(root: &Path, target: &str, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Output of `systemctl --root=FOLDER list-unit-files` of systemd 252 for the same folder.
    const EXPECTED: &[(&str, &str)] = &[
        ("a.service", "enabled"),
        ("also.service", "indirect"),
        ("disabled.service", "disabled"),
        ("dropped.service", "disabled"),
        ("empty.service", "masked"),
        ("getty@.service", "enabled"),
        ("linked.service", "linked"),
        ("masked.service", "masked"),
        ("named.service", "enabled"),
        ("other.service", "alias"),
        ("overridden.service", "static"),
        ("rt.service", "enabled-runtime"),
        ("serial@.service", "indirect"),
        ("static.service", "static"),
        ("wanted.service", "static"),
    ];

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let wanted = "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n";
        let lib = "usr/lib/systemd/system";
        for name in ["a", "disabled", "masked", "overridden", "rt", "serial@"] {
            write(root, &format!("{lib}/{name}.service"), wanted);
        }
        write(root, &format!("{lib}/getty@.service"), "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n");
        write(root, &format!("{lib}/named.service"), "[Install]\nAlias=other.service second.service\n");
        write(root, &format!("{lib}/also.service"), "[Install]\nAlso=a.service\n");
        write(root, &format!("{lib}/static.service"), "[Unit]\nWantedBy=x\n# [Install]\n");
        write(root, &format!("{lib}/wanted.service"), "[Service]\nExecStart=/bin/true\n");
        write(root, &format!("{lib}/dropped.service"), "[Service]\nExecStart=/bin/true\n");
        write(root, "etc/systemd/system/dropped.service.d/x.conf", "[Install]\nWantedBy = a.target\\\n b.target\n");
        write(root, &format!("{lib}/empty.service"), "");
        write(root, "etc/systemd/system/overridden.service", "[Service]\n");
        write(root, "opt/linked.service", wanted);
        link(root, "../a.service", &format!("{lib}/multi-user.target.wants/wanted.service"));
        link(root, "/usr/lib/systemd/system/a.service", "etc/systemd/system/multi-user.target.wants/a.service");
        link(root, "/usr/lib/systemd/system/getty@.service", "etc/systemd/system/getty.target.wants/getty@tty1.service");
        link(root, "/usr/lib/systemd/system/serial@.service", "etc/systemd/system/getty.target.wants/serial@ttyS0.service");
        link(root, "/usr/lib/systemd/system/rt.service", "run/systemd/system/multi-user.target.wants/rt.service");
        link(root, "/usr/lib/systemd/system/named.service", "etc/systemd/system/other.service");
        link(root, "/dev/null", "etc/systemd/system/masked.service");
        link(root, "/opt/linked.service", "etc/systemd/system/linked.service");
        folder
    }

    #[test]
    fn states_are_those_that_systemctl_tells() {
        let folder = tree();
        let files = UnitFiles::read(folder.path());
        let told: Vec<_> = files.names(".service").map(|name| (name, files.state(name).unwrap().state)).collect();
        assert_eq!(told, EXPECTED);
        assert_eq!(files.state("other.service").unwrap().alias_of.as_deref(), Some("named.service"));
        assert_eq!(files.state("nope.service"), None);
        let plainly: Vec<_> = files.names(".service").filter(|name| is_plainly_enabled(folder.path(), name)).collect();
        assert_eq!(plainly, ["a.service"], "the others are enabled in other ways, or not at all");
    }

    /// Compares with systemctl itself, where there is one.
    #[test]
    fn systemctl_agrees() {
        let folder = tree();
        let root = format!("--root={}", folder.path().display());
        let said =
            std::process::Command::new("systemctl").args([&root, "list-unit-files", "--no-legend", "--no-pager", "*.service"]).output();
        let Ok(said) = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()) else {
            labctl_skip::skip!("systemctl", "there is no systemctl here");
            return;
        };
        let states = said.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        });
        let mut states: Vec<_> = states.collect();
        states.sort_unstable();
        assert_eq!(states, EXPECTED);
    }
}
