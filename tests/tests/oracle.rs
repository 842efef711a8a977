//! Playbook cases run by ansible-core and by labctl, compared: see `tests/oracle/run.py`.
//!
//! Needs ansible-core in `target/ansible-venv` (`make install-ansible`, or ANSIBLE_VENV) and mount namespaces; skipped with a printed
//! reason where they are missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Fewer cases than this mean that the corpus was not found.
const AT_LEAST: u32 = 150;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn python() -> Result<PathBuf, String> {
    let venv = env::var_os("ANSIBLE_VENV").map_or_else(|| target().join("ansible-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    let works = Command::new(&python).args(["-c", "import ansible.release"]).stdin(Stdio::null()).output();
    match works {
        Ok(output) if output.status.success() => Ok(python),
        _ => Err(format!("there is no ansible-core in {}; `make install-ansible` puts it there", venv.display())),
    }
}

fn namespaces() -> Result<(), String> {
    let mut arguments = vec!["--mount"];
    if !is_root() {
        arguments.push("--map-root-user");
    }
    match Command::new("unshare").args(arguments).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("mount namespaces are not to be had here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(why) => Err(format!("unshare: {why}")),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[test]
fn labctl_does_what_ansible_does() {
    let found = python().and_then(|python| namespaces().map(|()| python));
    let python = match found {
        Ok(python) => python,
        Err(why) => {
            labctl_skip::skip!("oracle", "{why}");
            return;
        }
    };
    let labctl = env::var_os("LABCTL").map_or_else(|| target().join("debug/labctl"), PathBuf::from);
    assert!(labctl.is_file(), "there is no {}: cargo build --package labctl", labctl.display());
    let log = target().join("oracle.log");
    let status = Command::new(python)
        .arg(workspace().join("tests/oracle/run.py"))
        .arg("--labctl")
        .arg(&labctl)
        .arg("--cache")
        .arg(target().join("oracle"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::fs::File::create(target().join("oracle.err")).unwrap())
        .status()
        .unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    let last = said.lines().last().unwrap_or_default();
    eprintln!("{last}");
    assert!(status.success(), "{said}");
    let agree: u32 = last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(agree >= AT_LEAST, "only {last}");
}
