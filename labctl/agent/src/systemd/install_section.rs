//! The `[Install]` section of unit files (systemd.unit(5)).

use std::fs;
use std::path::Path;

/// What `systemctl enable` would do with a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Install {
    aliases: Vec<String>,
    wanted: Vec<String>,
    also: Vec<String>,
    instance: Option<String>,
}

impl Install {
    /// Adds the settings of a file; one that cannot be read adds nothing.
    pub(super) fn read(&mut self, path: &Path) {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).replace("\\\n", " ");
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            } else if inside
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                self.set(key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = match key {
            "Alias" => &mut self.aliases,
            "WantedBy" | "RequiredBy" | "UpheldBy" => &mut self.wanted,
            "Also" => &mut self.also,
            "DefaultInstance" => {
                self.instance = Some(value.to_owned()).filter(|value| !value.is_empty());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(str::to_owned));
    }

    /// Adds the settings of a folder's `.conf` files, in name order.
    pub(super) fn read_drop_ins(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
        files.sort();
        files.iter().for_each(|file| self.read(file));
    }

    /// Names of links that show that the unit `name` is enabled.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        names.extend_from_slice(&self.aliases);
        if let Some(instance) = &self.instance {
            let of = |name: &String| name.split_once("@.").map(|(prefix, suffix)| format!("{prefix}@{instance}.{suffix}"));
            let instances: Vec<String> = names.iter().filter_map(of).collect();
            names.extend(instances);
        }
        names
    }

    /// Folders in which a link of the unit's name shows that it is enabled.
    pub(super) fn folders(&self) -> impl Iterator<Item = String> {
        self.wanted.iter().flat_map(|target| [format!("{target}.wants"), format!("{target}.requires")])
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.aliases.is_empty() || !self.wanted.is_empty()
    }

    pub(super) fn has_also(&self) -> bool {
        !self.also.is_empty()
    }
}
