//! Gives the program a build name for the supervisor: a hash of the code of all its crates, including the guest agent, and of the lock
//! file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest, Sha256};

/// The supervisor's crate.
const ROOT: &str = "supervisor";

/// What a crate embeds that is not one of its dependencies: the agent is in the program and in each node's initrd.
const EMBEDDED: [(&str, &str); 1] = [("guest", "agent")];

fn main() {
    let repository = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let repository = repository.canonicalize().expect("the repository is there");
    let mut crates = BTreeSet::new();
    collect(&repository, ROOT, &mut crates);
    let mut code = Sha256::new();
    let mut watched = vec![repository.join("Cargo.lock"), repository.join("Cargo.toml")];
    for name in &crates {
        let folder = repository.join("labctl").join(name);
        watched.extend([folder.join("src"), folder.join("Cargo.toml"), folder.join("build.rs")]);
    }
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
        add(&repository, path, &mut code);
    }
    let name: String = code.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=LABCTL_SUPERVISOR_BUILD={name}");
    println!("cargo::rustc-env=LABCTL_SUPERVISOR_CRATES={}", crates.into_iter().collect::<Vec<_>>().join(" "));
}

/// Adds a crate and all of our crates that it depends on.
fn collect(repository: &Path, name: &str, crates: &mut BTreeSet<String>) {
    if !crates.insert(name.to_owned()) {
        return;
    }
    let manifest = repository.join("labctl").join(name).join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap_or_else(|why| panic!("{}: {why}", manifest.display()));
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(other) = line.strip_prefix("labctl-")
        {
            let end = other.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(other.len());
            collect(repository, &other[..end], crates);
        }
    }
    for (_, embedded) in EMBEDDED.iter().filter(|(by, _)| *by == name) {
        collect(repository, embedded, crates);
    }
}

/// Adds a file, or all files below a folder.
fn add(repository: &Path, path: &Path, code: &mut Sha256) {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort();
        paths.iter().for_each(|path| add(repository, path, code));
        return;
    }
    let content = fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    code.update(path.strip_prefix(repository).expect("it is below").as_os_str().as_encoded_bytes());
    code.update([0]);
    code.update((content.len() as u64).to_le_bytes());
    code.update(content);
}
