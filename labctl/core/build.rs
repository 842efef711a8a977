//! Puts two things into the program: the files that it ships, and a name for the code that a supervisor is made of.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest, Sha256};

/// Folders of the repository whose files are shipped.
const SHIPPED: [&str; 4] = ["roles", "images", "scenarios", "hosts"];

/// Crates whose code runs in a supervisor or travels over its socket.
const SUPERVISOR: [&str; 7] = ["spec", "wire", "machine", "net", "guest", "chaos", "core"];

fn main() {
    let crate_folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo gives it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo gives it"));
    let repository = crate_folder.join("../..").canonicalize().expect("the repository is there");
    let mut code = Sha256::new();
    for name in SUPERVISOR {
        let folder = repository.join("labctl").join(name).join("src");
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in files(&folder) {
            add(&mut code, &file.strip_prefix(&repository).expect("it is below"), &fs::read(&file).expect("a readable file"));
        }
    }
    println!("cargo::rustc-env=LABCTL_SUPERVISOR_BUILD={}", &hex(code)[..8]);
    fs::write(out.join("shipped.rs"), shipped(&repository, &out)).expect("OUT_DIR can be written to");
}

/// Rust code: `FILES`, and `DIGEST` of them.
fn shipped(repository: &Path, out: &Path) -> String {
    let mut digest = Sha256::new();
    let mut table = String::from("/// Path, mode and contents of each shipped file.\npub const FILES: &[(&str, u32, &[u8])] = &[\n");
    let mut put = |path: &Path, from: &Path| {
        let mode = if from.metadata().expect("it was listed").permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
        add(&mut digest, path, &fs::read(from).expect("a readable file"));
        writeln!(table, "    ({path:?}, {mode:#o}, include_bytes!({from:?})),").expect("a String takes everything");
    };
    for name in SHIPPED {
        println!("cargo::rerun-if-changed={}", repository.join(name).display());
        for file in files(&repository.join(name)) {
            put(file.strip_prefix(repository).expect("it is below"), &file);
        }
    }
    // The shipped programs are members of a workspace; this is what they take from it.
    let root = repository.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", root.display());
    let manifest = out.join("shipped-workspace.toml");
    fs::write(&manifest, workspace(&fs::read_to_string(&root).expect("a readable manifest"))).expect("OUT_DIR can be written to");
    put(Path::new("Cargo.toml"), &manifest);
    table.push_str("];\n\n");
    writeln!(table, "/// Names these files, all together.\npub const DIGEST: &str = {:?};", &hex(digest)[..16])
        .expect("a String takes everything");
    table
}

/// A workspace of the shipped programs alone: of the repository's manifest, what members inherit, without dependencies.
fn workspace(manifest: &str) -> String {
    let mut text = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"hosts/programs/*\"]\n");
    let mut wanted = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            wanted = line.starts_with("[workspace.package]") || line.starts_with("[workspace.lints.");
        }
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// All files below, sorted; what builds and editors leave is not ours.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    for entry in entries.map(|entry| entry.expect("a readable folder")) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') || name == "target" {
            continue;
        }
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn add(hash: &mut Sha256, path: &Path, content: &[u8]) {
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update([0]);
    hash.update((content.len() as u64).to_le_bytes());
    hash.update(content);
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
