//! The database of update-alternatives(1): one file per name, in /var/lib/dpkg/alternatives (Debian) or /var/lib/alternatives.
//!
//! ```text
//! auto|manual
//! LINK
//! SLAVE NAME and SLAVE LINK, two lines each
//! (empty)
//! PATH, PRIORITY (before it `@FAMILY@` on RPM systems), then a line for each slave: its path, or nothing
//! ...
//! (empty)
//! ```

use std::fs;

use crate::modules::call::root::Root;

/// A link that follows the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slave {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) path: String,
}

/// A program that a name may refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) path: String,
    pub(super) priority: i64,
    pub(super) family: Option<String>,
    pub(super) slaves: Vec<Slave>,
}

/// The database entry of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Whether the name exists.
    pub(super) is_known: bool,
    /// Whether the priorities decide.
    pub(super) auto: bool,
    pub(super) link: String,
    pub(super) choices: Vec<Choice>,
}

impl Group {
    /// Reads an entry of the database; empty if the name does not exist.
    pub(super) fn read(root: &Root, name: &str) -> Self {
        let folders = ["/var/lib/dpkg/alternatives", "/var/lib/alternatives"];
        let texts = folders.iter().filter_map(|folder| fs::read_to_string(root.join(format!("{folder}/{name}"))).ok());
        texts.map(|text| Self::parse(&text)).next().unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let auto = lines.next() == Some("auto");
        let link = lines.next().unwrap_or_default().to_owned();
        let mut slaves = Vec::new();
        while let Some(name) = lines.next().filter(|name| !name.is_empty()) {
            slaves.push((name.to_owned(), lines.next().unwrap_or_default().to_owned()));
        }
        let mut choices = Vec::new();
        while let Some(path) = lines.next().filter(|path| !path.is_empty()) {
            let rank = lines.next().unwrap_or_default();
            let (family, rank) = match rank.strip_prefix('@').and_then(|rest| rest.split_once('@')) {
                Some((family, rank)) => (Some(family.to_owned()), rank),
                None => (None, rank),
            };
            let priority = rank.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            let mut own = Vec::new();
            for (name, link) in &slaves {
                if let Some(path) = lines.next().filter(|path| !path.is_empty()) {
                    own.push(Slave { name: name.clone(), link: link.clone(), path: path.to_owned() });
                }
            }
            choices.push(Choice { path: path.to_owned(), priority, family, slaves: own });
        }
        Self { is_known: true, auto, link, choices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slaves_families_and_gaps() {
        let group = Group::parse("auto\n/usr/bin/java\njavac\n/usr/bin/javac\n\n/opt/a\n@jdk@17 x\n/opt/a/javac\n/opt/b\n5\n\n\n");
        assert!(group.auto && group.is_known);
        assert_eq!((group.choices[0].family.as_deref(), group.choices[0].priority), (Some("jdk"), 17));
        assert_eq!(group.choices[0].slaves[0].path, "/opt/a/javac");
        assert_eq!((group.choices[1].priority, group.choices[1].slaves.len(), group.choices.len()), (5, 0, 2));
        assert_eq!(Group::parse("").choices, []);
    }
}
