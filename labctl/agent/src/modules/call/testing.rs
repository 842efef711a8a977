//! A temporary machine for the modules' tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::Value;

use crate::modules::call::root::Root;
use crate::modules::run_in;

/// A temporary folder that stands for `/`, and calls that use it.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        bench.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000::/home/app:/bin/sh\n");
        bench.write("etc/group", "root:x:0:\napp:x:1000:\nadm:x:4:app\n");
        bench
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(self.folder.path())
    }

    /// `name` in the folder, with or without a leading `/`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.trim_start_matches('/'))
    }

    /// The same, as text.
    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("folders");
        std::fs::write(path, contents).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Adds a program that modules find before the machine's own. A child writes it: if it were open for writing here, a process that
    /// another thread starts at that moment would inherit the descriptor, and the program could not be executed ("text file busy").
    pub(crate) fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::create_dir_all(self.path("bin")).expect("a folder");
        let mut child = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let text = format!("#!/bin/sh\n{script}\n");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("the script is taken");
        assert!(child.wait().expect("an end").success());
    }

    /// What the programs of [`Bench::program`] wrote to `$NOTES`, by line.
    pub(crate) fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("bin/notes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Deletes the notes.
    pub(crate) fn forget_notes(&self) {
        let _ = std::fs::remove_file(self.path("bin/notes"));
    }

    pub(crate) fn call(&self, module: &str, args: Value, check: bool) -> ModuleReply {
        self.call_unless(&|| false, module, args, check)
    }

    /// Runs until it finishes or `given_up` returns true.
    pub(crate) fn call_unless(&self, given_up: &dyn Fn() -> bool, module: &str, args: Value, check: bool) -> ModuleReply {
        let Value::Object(args) = args else { panic!("arguments must be an object") };
        let mut environment = BTreeMap::new();
        if self.exists("bin") {
            environment.insert("PATH".to_owned(), format!("{}:/usr/bin:/bin", self.text_path("bin")));
            environment.insert("NOTES".to_owned(), self.text_path("bin/notes"));
        }
        let call = ModuleCall { module: module.into(), args, check, diff: true, environment, ..ModuleCall::default() };
        run_in(&self.root(), given_up, &call)
    }

    /// Runs outside check mode; returns the result, which must not be a failure.
    pub(crate) fn run(&self, module: &str, args: Value) -> Value {
        let reply = self.call(module, args, false);
        assert!(!reply.result.contains_key("failed"), "{module} failed: {:?}", reply.result);
        assert!(!reply.needs_content, "{module} wants content");
        Value::Object(reply.result)
    }

    /// Runs outside check mode; returns the message of its failure.
    pub(crate) fn fault(&self, module: &str, args: Value) -> String {
        let reply = self.call(module, args, false);
        assert_eq!(reply.result.get("failed"), Some(&Value::Bool(true)), "{:?}", reply.result);
        reply.result["msg"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks, applies, and applies again: the check must change nothing and predict what applying reports, and the second run must
    /// change nothing. Returns the first applied result.
    pub(crate) fn converges(&self, module: &str, args: Value, changed: bool) -> Value {
        let before = self.snapshot();
        let check = self.call(module, args.clone(), true);
        assert!(!check.result.contains_key("failed"), "checking {module} failed: {:?}", check.result);
        let differing: Vec<_> = self.snapshot().symmetric_difference(&before).map(|entry| entry.0.clone()).collect();
        assert!(differing.is_empty(), "checking {module} changed {differing:?}");
        assert_eq!(check.result["changed"], Value::Bool(changed), "prediction of {module}: {:?}", check.result);
        let first = self.run(module, args.clone());
        assert_eq!(first["changed"], Value::Bool(changed), "{module}: {first}");
        let second = self.run(module, args);
        assert_eq!(second["changed"], Value::Bool(false), "{module} again: {second}");
        first
    }

    /// Every path with its kind, mode, owner and contents, except for the programs and their notes.
    fn snapshot(&self) -> BTreeSet<(PathBuf, u32, u32, u32, Vec<u8>)> {
        use std::os::unix::fs::MetadataExt;
        let mut all = BTreeSet::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
                let meta = entry.path().symlink_metadata().expect("metadata");
                let contents = if meta.is_file() { std::fs::read(entry.path()).unwrap_or_default() } else { vec![] };
                if entry.path() == self.path("bin") {
                    continue;
                }
                if meta.is_dir() {
                    folders.push(entry.path());
                }
                all.insert((entry.path(), meta.mode(), meta.uid(), meta.gid(), contents));
            }
        }
        all
    }
}
