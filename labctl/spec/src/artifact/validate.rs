//! The semantic checks of an artifact file: names, URLs, placeholders, checksums, keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Artifact, ArtifactSource, GoModuleSource, ReleaseSource};
use crate::image::is_url;
use crate::lab::files::absolute;
use crate::names;
use crate::report::Report;

pub(super) fn artifacts(artifacts: Vec<Artifact>, file: &Path, report: &mut Report) -> Vec<Artifact> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let checked = artifacts.into_iter().enumerate().map(|(index, mut artifact)| {
        let at = format!("/{index}");
        if !names::is_stem(&artifact.name) {
            let hint = "use letters, digits, dots, hyphens and underscores";
            report.add(&format!("{at}/name"), format!("`{}` is not a valid file name", artifact.name), hint);
        }
        if let Some(other) = taken.insert(artifact.name.clone(), index) {
            let reason = format!("`{}` is already the name of the entry on line {}", artifact.name, report.line(&format!("/{other}")));
            report.add(&format!("{at}/name"), reason, "give every artifact its own name");
        }
        if !names::is_stem(&artifact.version) {
            let hint = "write it like `1.12.9`";
            report.add(&format!("{at}/version"), format!("`{}` is not a version", artifact.version), hint);
        }
        for (position, source) in artifact.sources.iter_mut().enumerate() {
            self::source(source, &format!("{at}/sources/{position}"), folder, report);
        }
        artifact
    });
    checked.collect()
}

fn source(source: &mut ArtifactSource, at: &str, folder: &Path, report: &mut Report) {
    match source {
        ArtifactSource::Directory(directory) => {
            let at = format!("{at}/directory");
            if let Some(path) = &mut directory.path {
                placeholders(&path.to_string_lossy(), &format!("{at}/path"), report);
                *path = absolute(folder, path);
            }
            let good = |sum: &String| sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
            if directory.sha256.as_ref().is_some_and(|sum| !good(sum)) {
                let reason = "this is not a SHA-256";
                report.add(&format!("{at}/sha256"), reason, "write its 64 hexadecimal digits, without `sha256:`");
            }
        }
        ArtifactSource::Release(release) => self::release(release, &format!("{at}/release"), folder, report),
        ArtifactSource::GoModule(module) => go_module(module, &format!("{at}/go_module"), report),
        // The crate's folder is checked when this source is tried: another one may succeed first.
        ArtifactSource::Cargo(cargo) => cargo.path = absolute(folder, &cargo.path),
    }
}

fn release(release: &mut ReleaseSource, at: &str, folder: &Path, report: &mut Report) {
    if !is_url(&release.base) {
        let hint = "write an address such as `https://releases.hashicorp.com/consul/{version}`";
        report.add(&format!("{at}/base"), format!("`{}` is not an http or https address", release.base), hint);
    }
    placeholders(&release.base, &format!("{at}/base"), report);
    for (key, name) in [("archive", &release.archive), ("checksums", &release.checksums), ("signature", &release.signature)] {
        let at = format!("{at}/{key}");
        placeholders(name, &at, report);
        if name.contains('/') {
            report.add(&at, format!("`{name}` is a path"), "write a file name; the folder belongs in `base`");
        }
    }
    if let Some(member) = &release.member {
        placeholders(member, &format!("{at}/member"), report);
    }
    let key: PathBuf = absolute(folder, &release.key);
    if !key.is_file() {
        let hint = "the path is relative to this file; put the vendor's public key there";
        report.add(&format!("{at}/key"), format!("{} does not exist", key.display()), hint);
    }
    release.key = key;
}

fn go_module(module: &GoModuleSource, at: &str, report: &mut Report) {
    for (key, path) in [("module", Some(&module.module)), ("package", module.package.as_ref())] {
        let Some(path) = path else { continue };
        if path.contains("://") || path.contains(char::is_whitespace) {
            let hint = "write it without `https://`, such as `github.com/hashicorp/consul`";
            report.add(&format!("{at}/{key}"), format!("`{path}` is not a Go module path"), hint);
        }
    }
    placeholders(&module.module_version, &format!("{at}/module_version"), report);
    if !module.module_version.starts_with('v') {
        let hint = format!("write `v{}`", module.module_version);
        let reason = format!("`{}` is not a Go module version", module.module_version);
        report.add(&format!("{at}/module_version"), reason, hint);
    }
    let version = |text: &str| text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    if let Some(go) = module.go.as_deref().filter(|go| !version(go)) {
        report.add(&format!("{at}/go"), format!("`{go}` is not a version of Go"), "write it like \"1.20\"");
    }
}

/// Only `{name}` and `{version}` are replaced.
fn placeholders(text: &str, at: &str, report: &mut Report) {
    for part in text.split('{').skip(1) {
        let name = part.split('}').next().unwrap_or_default();
        if !matches!(name, "name" | "version") || !part.contains('}') {
            report.add(at, format!("`{{{name}}}` is not replaced"), "use `{name}` and `{version}` only");
        }
    }
}
