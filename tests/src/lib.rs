//! Shared setup for the tests that cross crates: the `labctl` program in a home of its own.

pub mod writers;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program under test: `$LABCTL`, which the Makefile sets, or the build of the same profile.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("LABCTL") {
        return named.into();
    }
    let here = std::env::current_exe().expect("a test knows its own path");
    let built = here.ancestors().map(|folder| folder.join("labctl")).find(|path| path.is_file());
    built.expect("labctl is not built: cargo build --package labctl, or make test")
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_owned()
}

/// Whether QEMU is installed; prints the reason for skipping if not.
pub fn can_boot() -> bool {
    let there = Command::new(labctl_machine::qemu::program()).arg("--version").stdin(Stdio::null()).output().is_ok();
    if !there {
        labctl_skip::skip!("qemu", "{} is not installed; make install-packages installs it", labctl_machine::qemu::program());
    }
    there
}

/// labctl in a home of its own, with the user's store of images and artifacts, and a folder for a lab. Dropping it destroys the lab.
pub struct Sandbox {
    folder: TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Creates a new sandbox.
    ///
    /// # Panics
    /// If no temporary folder can be created.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("labctl-test-").tempdir().expect("a temporary folder");
        let sandbox = Self { folder };
        std::fs::create_dir_all(sandbox.home()).expect("a home");
        // Images take long to build: all tests share the user's.
        let store = user_store();
        std::fs::create_dir_all(&store).expect("the store");
        std::os::unix::fs::symlink(&store, sandbox.home().join("store")).expect("a link to the store");
        sandbox
    }

    /// labctl's home.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a Perl program on a node in the background.
    pub fn run_perl(&self, node: &str, program: &str) {
        self.good(&["exec", node, "--", "systemd-run", "-q", "perl", "-e", program]);
    }

    /// The number of disk layers in the home.
    pub fn disk_layers(&self) -> usize {
        std::fs::read_dir(self.home().join("layers")).map_or(0, Iterator::count)
    }

    /// Writes a file into the working folder.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// The command with its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.folder()).stdin(Stdio::null());
        command.env("LABCTL_HOME", self.home()).env("XDG_RUNTIME_DIR", self.folder()).env_remove("LABCTL_LAB");
        command
    }

    /// Runs the command until it exits.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("labctl runs")
    }

    /// Runs the command and returns its standard output.
    ///
    /// # Panics
    /// If it fails; with all its output.
    pub fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "labctl {}: {}\n{out}\n{err}", args.join(" "), output.status);
        out.into_owned()
    }

    /// Runs the command with `--json` and returns its result: the last of the objects that it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.good(&[args, &["--json"]].concat());
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
    }

    /// Runs a command that must fail, and returns its exit code and standard error.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn bad(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "labctl {} must fail", args.join(" "));
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts the command without waiting; its output goes to files in the sandbox.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, args: &[&str]) -> Child {
        let log = std::fs::File::create(self.folder().join("started.log")).expect("a log");
        let errors = log.try_clone().expect("a log");
        self.command(args).stdout(log).stderr(errors).spawn().expect("labctl starts")
    }

    /// `labctl status --json`.
    ///
    /// # Panics
    /// If it fails.
    pub fn status(&self) -> serde_json::Value {
        self.json(&["status"])
    }

    /// Process ids of this sandbox's QEMUs, found by their command lines.
    pub fn machines(&self) -> Vec<i32> {
        machines(&self.home().display().to_string())
    }
}

/// Waits for a condition.
///
/// # Panics
/// If it does not hold in time; the message names it.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The seed of a test's random numbers: `$LABCTL_SEED`, or `usual`. Printed, so that a failure can be reproduced.
pub fn seed(usual: u64) -> u64 {
    let seed = std::env::var("LABCTL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual);
    println!("seed {seed} (LABCTL_SEED repeats another)");
    seed
}

/// kill -9. The pid was just read from a process of this test; if that has exited meanwhile, this is not a failure.
pub fn kill(pid: i32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
}

/// kill -9 of the lab's supervisor, if one runs.
pub fn kill_supervisor(sandbox: &Sandbox) {
    let status = sandbox.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    if let Some(pid) = status["supervisor"].as_i64().and_then(|pid| i32::try_from(pid).ok()) {
        kill(pid);
    }
}

/// Process ids of QEMUs whose command line contains `word`.
pub fn machines(word: &str) -> Vec<i32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains("qemu-system") && line.contains(word) {
            pids.push(pid);
        }
    }
    pids
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.home().join("labs").exists() {
            for entry in std::fs::read_dir(self.home().join("labs")).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') {
                    let _ = self.run(&["--lab", &name, "destroy", "--force"]);
                }
            }
        }
    }
}

/// Where this user's labctl stores images and artifacts.
fn user_store() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    std::env::var_os("LABCTL_HOME").map_or_else(|| data.unwrap_or_else(|| "/tmp".into()).join("labctl"), PathBuf::from).join("store")
}
