//! Builds the guest agent (static, musl) and puts it where the library includes it.
//!
//! Runs a nested cargo with its own target folder: the agent's target and profile differ from the rest, and a plain `cargo build` must
//! still build everything.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = here.join("../..");
    for source in ["labctl/agent", "labctl/tree", "labctl/wire", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let target = format!("{}-unknown-linux-musl", env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it"));
    let folder = target_folder();
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.current_dir(&workspace).args(["build", "--quiet", "--package", "labctl-agent", "--profile", "agent"]);
    cargo.args(["--target", &target, "--target-dir"]).arg(&folder);
    // What cargo sets for this build script must not leak into the nested build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"];
        if text.starts_with("CARGO_CFG_") || text.starts_with("CARGO_PKG_") || ours.contains(&&*text) {
            cargo.env_remove(&name);
        }
    }
    // The only C dependency (ring, freestanding) builds with the host's compiler; it needs no musl toolchain.
    let compiler = format!("CC_{}", target.replace('-', "_"));
    if env::var_os(&compiler).is_none() {
        cargo.env(compiler, "cc");
    }
    match cargo.status() {
        Ok(status) if status.success() => {}
        outcome => panic!("the agent was not built ({outcome:?}); is its target installed? rustup target add {target}"),
    }
    let built = folder.join(&target).join("agent/labctl-agent");
    println!("cargo::rustc-env=LABCTL_AGENT={}", built.display());
    let digest = Sha256::digest(std::fs::read(&built).expect("the agent was built"));
    println!("cargo::rustc-env=LABCTL_AGENT_SHA256={}", hex::encode(digest));
}

/// `target/guest-agent` of the workspace, derived from the output folder `TARGET/PROFILE/build/PACKAGE/out`.
fn target_folder() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    out.ancestors().nth(4).map_or_else(|| out.clone(), Path::to_path_buf).join("guest-agent")
}
