//! Sources of an inventory: files, folders of files, lists of hosts.

use std::fs;
use std::path::{Path, PathBuf};

use labctl_spec::mistake::Mistake;

use super::{Inventory, file};

/// Extensions of files in an inventory folder that are not inventories (Ansible's `INVENTORY_IGNORE_EXTS`, in part).
const IGNORED: &[&str] = &["pyc", "pyo", "swp", "bak", "rpm", "md", "txt", "rst", "orig", "ini~", "cfg", "retry"];

impl Inventory {
    /// Merges inventories, later ones over earlier ones: each is a file (INI, YAML or JSON), a folder of such files, or host names with at
    /// least one comma (`web1,web2` or `web1,`).
    ///
    /// # Errors
    /// What is wrong in one of them.
    pub fn from_sources(sources: &[String]) -> Result<Self, Mistake> {
        let mut out = Self::default();
        out.group("all");
        out.group("ungrouped");
        for source in sources {
            let path = Path::new(source);
            if source.contains(',') && !path.exists() {
                for name in source.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    for name in file::expand(name) {
                        out.hosts.entry(name).or_default();
                    }
                }
            } else if path.is_dir() {
                for file in files(path)? {
                    out.merge(Self::from_file(&file)?);
                }
                out.beside(path.to_path_buf());
                out.file = Some(path.to_path_buf());
            } else {
                out.merge(Self::from_file(path)?);
            }
        }
        let grouped: Vec<String> = out
            .groups
            .iter()
            .filter(|(name, _)| *name != "all" && *name != "ungrouped")
            .flat_map(|(_, group)| group.hosts.clone())
            .collect();
        let alone = out.hosts.keys().filter(|host| !grouped.contains(host)).cloned().collect();
        out.group("ungrouped").hosts = alone;
        Ok(out)
    }

    fn beside(&mut self, folder: PathBuf) {
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        if !self.folders.contains(&folder) {
            self.folders.push(folder);
        }
    }

    fn merge(&mut self, other: Self) {
        for (name, host) in other.hosts {
            self.hosts.entry(name).or_default().vars.extend(host.vars);
        }
        for (name, group) in other.groups {
            let into = self.group(&name);
            into.vars.extend(group.vars);
            for host in group.hosts {
                if !into.hosts.contains(&host) {
                    into.hosts.push(host);
                }
            }
            for child in group.children {
                if !into.children.contains(&child) {
                    into.children.push(child);
                }
            }
        }
        for folder in other.folders {
            self.beside(folder);
        }
        self.file = other.file.or(self.file.take());
    }
}

/// The inventories in a folder, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Mistake> {
    let wrong = |why: std::io::Error| file::fault(folder, 0, format!("cannot read the inventory folder: {why}"), None);
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() && !name.starts_with('.') && !name.ends_with('~') && !IGNORED.contains(&ending.as_str()) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Controller;
    use crate::data::Data;

    #[test]
    fn sources_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("a"), "[web]\nw1 x=1\nw2\n").unwrap();
        fs::write(path("b.yml"), "hosts:\n  w1: {x: 2}\n  solo:\nvars: {everywhere: 1}\n").unwrap();
        fs::write(path("c.bak"), "[nope]\nno\n").unwrap();
        let inventory = Inventory::from_sources(&[folder.path().display().to_string(), "n[1:2],".to_owned()]).unwrap();
        assert_eq!(inventory.names(), ["w1", "w2", "solo", "n1", "n2"]);
        assert_eq!(inventory.members("ungrouped"), ["solo", "n1", "n2"]);
        let vars = inventory.variables("w1", Path::new("/nowhere"), &Controller::default()).unwrap();
        assert_eq!((&vars["x"], &vars["everywhere"]), (&Data::Int(2), &Data::Int(1)));
        assert!(Inventory::from_sources(&[path("gone")]).unwrap_err().to_string().contains("cannot read the inventory"));
    }

    #[test]
    fn a_program_is_refused_with_the_way_out() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dynamic");
        fs::write(&path, "#!/bin/sh\necho {}\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let why = Inventory::from_sources(&[path.display().to_string()]).unwrap_err().to_string();
        assert!(why.contains("ansible-inventory"), "{why}");
    }
}
