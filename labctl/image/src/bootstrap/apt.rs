//! Chooses the Debian archive that packages come from: the image file's mirror, else the one that the host's own apt
//! uses, else Debian's default. Proxies of the host's apt apply in the last two cases too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labctl_spec::image::Bootstrap;

use crate::progress::{Event, Progress};

/// Debian's own archive, served by a nearby mirror.
const DEFAULT: &str = "http://deb.debian.org/debian";
/// Debian's security archive.
const DEFAULT_SECURITY: &str = "http://security.debian.org/debian-security";

/// Input for mmdebstrap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mirror {
    /// `sources.list` lines.
    pub sources: Vec<String>,
    /// Lines of apt's configuration.
    pub options: Vec<String>,
}

/// One entry in the host's apt sources: address, suites, components.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

/// Chooses the mirror. If the lab names a proxy, that of the host's apt does not count.
pub(super) fn mirror(bootstrap: &Bootstrap, has_proxy: bool, progress: &dyn Progress) -> Mirror {
    let mut options = host_options();
    if has_proxy {
        options.retain(|line| !line.to_ascii_lowercase().contains("proxy"));
    }
    if let Some(mirror) = &bootstrap.mirror {
        // A custom mirror may lack the security archive, so that one comes from Debian.
        return Mirror { sources: source_lines(&bootstrap.suite, mirror, DEFAULT_SECURITY), options };
    }
    let (main, security) = host_mirrors(Path::new("/"));
    let main = main.unwrap_or_else(|| DEFAULT.to_string());
    let security = security.unwrap_or_else(|| DEFAULT_SECURITY.to_string());
    progress.event(Event::Note(format!("packages from {main}")));
    Mirror { sources: source_lines(&bootstrap.suite, &main, &security), options }
}

/// Shell lines appended to the tuning script: the guest's own sources.
///
/// The guest gets Debian's default archives, not the host's mirror, which may be reachable only from the host. A mirror
/// in the image file applies to the guest too.
pub(super) fn guest_sources(bootstrap: &Bootstrap) -> String {
    let main = bootstrap.mirror.as_deref().unwrap_or(DEFAULT);
    let lines = source_lines(&bootstrap.suite, main, DEFAULT_SECURITY).join("\n");
    format!(
        "rm -f \"$root/etc/apt/apt.conf.d/99mmdebstrap\" \"$root\"/etc/apt/sources.list.d/0000main.*\ncat >\"$root/etc/apt/sources.list\" <<'EOF'\n{lines}\nEOF\n"
    )
}

/// The suite, its updates and its security updates; Debian's unstable suites have no others.
fn source_lines(suite: &str, main: &str, security: &str) -> Vec<String> {
    let mut lines = vec![format!("deb {main} {suite} main")];
    if !["sid", "unstable", "experimental"].contains(&suite) {
        lines.push(format!("deb {main} {suite}-updates main"));
        lines.push(format!("deb {security} {suite}-security main"));
    }
    lines
}

/// Debian's keys, if apt does not already trust them (as on Debian 13 and on other distributions).
pub(super) fn keyring() -> Option<PathBuf> {
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

/// How the host's apt reaches its archives: proxies, and whether it accepts old release files.
fn host_options() -> Vec<String> {
    let output = Command::new("apt-config").arg("dump").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => options_of(&String::from_utf8_lossy(&output.stdout)),
        _ => Vec::new(),
    }
}

fn options_of(dump: &str) -> Vec<String> {
    let wanted = |line: &&str| {
        let key = line.split([' ', '\t']).next().unwrap_or("").to_ascii_lowercase();
        let web = key.starts_with("acquire::http::") || key.starts_with("acquire::https::");
        (web && (key.contains("proxy") || key.contains("::verify-") || key.ends_with("::cainfo")))
            || ["acquire::check-valid-until", "acquire::check-date"].contains(&key.as_str())
    };
    dump.lines()
        .map(str::trim)
        .filter(wanted)
        // The head of a group has no value of its own.
        .filter(|line| !line.ends_with("\"\";"))
        .map(str::to_string)
        .collect()
}

/// The main and the security archive that the host uses, if the host runs Debian. `root` is `/` except in tests.
fn host_mirrors(root: &Path) -> (Option<String>, Option<String>) {
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_string())
    };
    if field("ID").as_deref() != Some("debian") {
        return (None, None);
    }
    let places = places(root);
    // Third parties name their suites and folders like Debian's; only Debian has a component `main` at `…/debian`.
    let find = |folder: &str| {
        places
            .iter()
            .find(|place| {
                let web = place.uri.starts_with("http://") || place.uri.starts_with("https://");
                let last = place.uri.trim_end_matches('/').rsplit('/').next();
                web && last == Some(folder) && place.components.iter().any(|component| component == "main")
            })
            .map(|place| place.uri.trim_end_matches('/').to_string())
    };
    (find("debian"), find("debian-security"))
}

/// Everything in sources.list and sources.list.d, in apt's order.
fn places(root: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    let apt = root.join("etc/apt");
    if let Ok(text) = fs::read_to_string(apt.join("sources.list")) {
        places.extend(one_line_style(&text));
    }
    let mut files: Vec<PathBuf> = match fs::read_dir(apt.join("sources.list.d")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => places.extend(one_line_style(&text)),
            Some("sources") => places.extend(deb822_style(&text)),
            _ => {}
        }
    }
    places
}

/// `deb [options] uri suite component...`, as in sources.list(5).
fn one_line_style(text: &str) -> Vec<Place> {
    let place = |line: &str| {
        let line = line.split('#').next()?.trim();
        let mut rest = line.strip_prefix("deb")?;
        if !rest.starts_with([' ', '\t']) {
            return None;
        }
        rest = rest.trim_start();
        if let Some(options) = rest.strip_prefix('[') {
            rest = options.split_once(']')?.1;
        }
        let mut words = rest.split_whitespace().map(str::to_string);
        Some(Place { uri: words.next()?, suites: vec![words.next()?], components: words.collect() })
    };
    text.lines().filter_map(place).collect()
}

/// Paragraphs of `Field: values`, as in sources.list(5).
fn deb822_style(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_string()));
            }
        }
        let words = |wanted: &str| -> Vec<String> {
            let value = fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            value.unwrap_or("").split_whitespace().map(str::to_string).collect()
        };
        let off = words("enabled").first().is_some_and(|value| ["no", "false", "0", "off"].contains(&value.as_str()));
        if off || !words("types").iter().any(|kind| kind == "deb") {
            continue;
        }
        for uri in words("uris") {
            places.push(Place { uri, suites: words("suites"), components: words("components") });
        }
    }
    places
}

#[cfg(test)]
#[path = "apt_tests.rs"]
mod tests;
