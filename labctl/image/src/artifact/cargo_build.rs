//! Builds a program of this project as a static binary with the host's cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labctl_spec::artifact::CargoSource;
use sha2::{Digest, Sha256};

use super::error::Failure;
use super::{Wanted, elf};
use crate::child::{self, Ended};
use crate::missing::{self, Missing, Tool};
use crate::progress::Event;
use crate::store_error::{StoreError, at};

const CARGO: Tool = Tool { program: "cargo", package: "cargo", why: "builds this project's own programs" };
/// A build does not start with less free space than this.
const NEEDED: u64 = 512 << 20;

pub(super) fn fetch(wanted: &Wanted<'_>, source: &CargoSource) -> Result<(), Failure> {
    let crate_folder = wanted.base.join(&source.path);
    let manifest = crate_folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::Source(format!("there is no {}", manifest.display())));
    }
    missing::need(&CARGO)?;
    let target = target();
    has_target(&target)?;
    crate::space::require(&wanted.artifact.name, &wanted.folder, NEEDED)?;
    // A separate target folder, kept between builds: the workspace's own is locked while cargo runs labctl itself.
    let target_folder = wanted.root.join("cargo");
    wanted.progress.event(Event::Step(format!("building {} from {}", wanted.artifact.name, crate_folder.display())));
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--target", &target, "--bin", &wanted.artifact.name])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_folder)
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let _certificates = wanted.outside.lead(&mut command).map_err(at("write certificates for", &wanted.folder))?;
    match child::run(command, &wanted.lock, &wanted.log)? {
        Ended::Well => {}
        Ended::NotFound => return Err(Failure::Source("cargo has disappeared".into())),
        Ended::Badly { disk_full: true, .. } => {
            return Err(Failure::Store(StoreError::NoSpace {
                what: format!("building {}", wanted.artifact.name),
                path: target_folder.clone(),
                needed: NEEDED,
                available: crate::free::available(&target_folder).unwrap_or(0),
            }));
        }
        Ended::Badly { status, lines, .. } => {
            return Err(Failure::Source(format!("cargo build: {status}: {} (log: {})", lines.join("; "), wanted.log.display())));
        }
    }
    let built = target_folder.join(&target).join("release").join(&wanted.artifact.name);
    fs::copy(&built, &wanted.to).map_err(at("copy", &built))?;
    elf::require_static(&wanted.to).map_err(Failure::Source)
}

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Fails unless the standard library for static programs is installed.
fn has_target(target: &str) -> Result<(), Missing> {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let folder = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    if folder.is_some_and(|folder| Path::new(folder.trim()).is_dir()) {
        return Ok(());
    }
    let command = format!("rustup target add {target}");
    Err(Missing {
        what: format!("Rust's target {target}"),
        why: "makes programs that run in every guest".into(),
        fix: format!("install it: `{command}`"),
        fix_command: Some(command),
    })
}

/// Fails unless the host can build this project's own static programs.
///
/// # Errors
/// What is missing and how to get it.
pub fn doctor() -> Result<(), Missing> {
    missing::need(&CARGO)?;
    has_target(&target())
}

/// Hash of everything that a build takes from the source tree: the crate's files, plus the manifest and the lock file
/// of the workspace around it.
pub(super) fn fingerprint(crate_folder: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut paths = Vec::new();
    collect(crate_folder, &mut paths);
    paths.sort();
    for around in crate_folder.ancestors().skip(1) {
        let manifest = around.join("Cargo.toml");
        if fs::read_to_string(&manifest).is_ok_and(|text| text.contains("[workspace]")) {
            paths.extend([manifest, around.join("Cargo.lock")]);
            break;
        }
    }
    for path in paths {
        let name = path.strip_prefix(crate_folder).unwrap_or(&path);
        let content = fs::read(&path).unwrap_or_default();
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

/// Every file below `folder`, except build output and version control.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            let name = entry.file_name();
            if name != "target" && name != ".git" {
                collect(&entry.path(), paths);
            }
        } else {
            paths.push(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_the_fingerprint_and_outputs_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let program = workspace.join("program");
        fs::create_dir_all(program.join("src")).unwrap();
        fs::write(workspace.join("Cargo.toml"), "[workspace]").unwrap();
        fs::write(program.join("Cargo.toml"), "[package]").unwrap();
        fs::write(program.join("src/main.rs"), "fn main() {}").unwrap();
        let mut last = fingerprint(&program);
        for (file, text) in [
            ("program/src/main.rs", "fn main() { }"),
            ("program/src/other.rs", ""),
            ("program/Cargo.toml", "[package] "),
            ("Cargo.toml", "[workspace] "),
            ("Cargo.lock", "x"),
        ] {
            fs::write(workspace.join(file), text).unwrap();
            let now = fingerprint(&program);
            assert_ne!(now, last, "{file}");
            last = now;
        }
        fs::create_dir(program.join("target")).unwrap();
        fs::write(program.join("target/program"), "").unwrap();
        fs::write(workspace.join("README"), "").unwrap();
        assert_eq!(fingerprint(&program), last);
    }
}
