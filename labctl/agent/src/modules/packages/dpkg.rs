//! dpkg's state, read from its database (`/var/lib/dpkg/status`) without running it.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use crate::modules::call::root::Root;

/// A package in dpkg's database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) version: String,
    /// The three words of `Status`: selection (`install`, `hold` ...), error flag, state (`installed`, `config-files` ...).
    pub(crate) status: String,
    pub(crate) section: String,
    /// Names of the virtual packages that it provides.
    pub(crate) provides: Vec<String>,
}

impl Package {
    /// Fully installed.
    pub(crate) fn installed(&self) -> bool {
        self.status.ends_with(" installed")
    }

    /// Removed, but with its configuration left.
    pub(crate) fn leftovers(&self) -> bool {
        self.status.ends_with(" config-files")
    }

    /// The administrator's selection: `install`, `hold`, `deinstall`, `purge`.
    pub(crate) fn selection(&self) -> &str {
        self.status.split(' ').next().unwrap_or_default()
    }
}

/// The database as of the last change of its file.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) packages: Vec<Package>,
}

type Cached = Mutex<Option<(Stamp, Arc<Database>)>>;

type Stamp = (PathBuf, u64, i64, i64, u64);

static CACHE: LazyLock<Cached> = LazyLock::new(Mutex::default);

/// The database; parsed again only if its file has changed.
pub(crate) fn database(root: &Root) -> Arc<Database> {
    let path = root.join("/var/lib/dpkg/status");
    let Ok(meta) = fs::metadata(&path) else {
        return Arc::default();
    };
    let stamp = (path.clone(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size());
    if let Ok(cache) = CACHE.lock()
        && let Some((known, database)) = &*cache
        && *known == stamp
    {
        return database.clone();
    }
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let database = Arc::new(Database { packages: parse(&text) });
    if let Ok(mut cache) = CACHE.lock() {
        *cache = Some((stamp, database.clone()));
    }
    database
}

fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut package = Package::default();
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if !package.name.is_empty() {
                packages.push(std::mem::take(&mut package));
            }
            continue;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key {
            "Package" => package.name = value.to_owned(),
            "Architecture" => package.architecture = value.to_owned(),
            "Version" => package.version = value.to_owned(),
            "Status" => package.status = value.to_owned(),
            "Section" => package.section = value.to_owned(),
            "Provides" => {
                let names = value.split(',').filter_map(|one| one.split_whitespace().next());
                package.provides = names.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    packages
}

impl Database {
    /// The package of this name, an installed one first; `name` may end with `:architecture`.
    pub(crate) fn find(&self, name: &str) -> Option<&Package> {
        let (name, architecture) = match name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (name, None),
        };
        let fits =
            |package: &&Package| package.name == name && architecture.is_none_or(|arch| arch == "any" || package.architecture == arch);
        let mut all = self.packages.iter().filter(fits);
        let first = all.next()?;
        if first.installed() { Some(first) } else { all.find(|p| p.installed()).or(Some(first)) }
    }

    /// Whether an installed package provides this virtual one.
    pub(crate) fn provided(&self, name: &str) -> bool {
        self.packages.iter().any(|p| p.installed() && p.provides.iter().any(|one| one == name))
    }
}

/// Compares versions according to Debian Policy 5.6.12.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest)) => (epoch.parse::<u64>().unwrap_or(0), rest.to_owned()),
            None => (0, version.to_owned()),
        };
        match rest.rsplit_once('-') {
            Some((upstream, revision)) => (epoch, upstream.to_owned(), revision.to_owned()),
            None => (epoch, rest, String::new()),
        }
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| part(&a.1, &b.1)).then_with(|| part(&a.2, &b.2))
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(digit) if digit.is_ascii_digit() => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let letter = |rest: &[u8]| rest.first().is_some_and(|byte| !byte.is_ascii_digit());
    while !a.is_empty() || !b.is_empty() {
        while letter(a) || letter(b) {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order != Ordering::Equal {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (left, right) = (a.split_at(digits(a)), b.split_at(digits(b)));
        let trim = |digits: &[u8]| {
            let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
            digits[zeros..].to_vec()
        };
        let (x, y) = (trim(left.0), trim(right.0));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (left.1, right.1);
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn the_database_is_read_and_read_again_when_it_changes() {
        let bench = Bench::new();
        bench.write(
            "var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\nProvides: mta, x (= 1)\nDescription: d\n long\n\nPackage: b\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 2\n",
        );
        let database = database(&bench.root());
        assert!(database.find("a").unwrap().installed());
        assert!(database.find("a:amd64").is_some() && database.find("a:i386").is_none());
        assert!(database.find("b").unwrap().leftovers());
        assert!(database.provided("mta") && database.provided("x") && !database.provided("b"));
        bench.write("var/lib/dpkg/status", "");
        assert!(super::database(&bench.root()).find("a").is_none());
    }

    #[test]
    fn versions_are_ordered_like_dpkg_does() {
        for (a, b, order) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.10", "1.9", Ordering::Greater),
            ("1:0.1", "9.9", Ordering::Greater),
            ("1.0-2", "1.0-10", Ordering::Less),
            ("1.0a", "1.0", Ordering::Greater),
            ("1.0+b1", "1.0", Ordering::Greater),
            ("0.09", "0.9", Ordering::Equal),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
        }
    }
}
