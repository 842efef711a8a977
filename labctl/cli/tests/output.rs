//! What the program prints and how it exits, where no machine is needed. Looked at as a whole, so that a change of any word is seen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Two nodes, names and ports.
const LAB: &str = "\
name: tiny
network: {subnet: 10.99.0.0/24, domain: tiny.test}
nodes:
  - name: web
    memory: 256M
    hostnames: [www.tiny.test]
    publish: [\"8080:80\"]
    groups: [front]
  - name: db
    count: 2
    memory: 256M
";

/// A lab file with many mistakes.
const WRONG: &str = "\
name: tiny
colour: red
nodes:
  - name: a
    memory: lots
  - name: a
    cpus: 0
";

/// A scenario with mistakes.
const WRONG_SCENARIO: &str = "\
name: broken
steady_state:
  - name: web
    http: {node: nobody, port: 80}
steps:
  - explode: {group: front}
";

struct Place {
    /// As the program sees it.
    path: PathBuf,
    _folder: TempDir,
}

impl Place {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { path: folder.path().canonicalize().unwrap(), _folder: folder };
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join("work").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A transcript of these commands: command line, standard output, standard error, exit code.
    fn transcript(&self, lines: &[&[&str]]) -> String {
        lines.iter().map(|args| self.run(args)).collect::<Vec<_>>().join("\n")
    }

    fn run(&self, args: &[&str]) -> String {
        let folder = &self.path;
        let work = folder.join("work");
        std::fs::create_dir_all(&work).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_labctl"))
            .args(args)
            .current_dir(&work)
            // Whatever the caller's environment says must not matter.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LABCTL_HOME", folder.join("home"))
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("COLUMNS", "140")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let words: Vec<String> =
            args.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() }).collect();
        let mut text = format!("$ labctl {}\n", words.join(" "));
        for (prefix, bytes) in [("", output.stdout), ("! ", output.stderr)] {
            for line in clean(&String::from_utf8(bytes).unwrap(), folder).lines() {
                text.push_str(&format!("{prefix}{line}").trim_end().replace('\t', "    "));
                text.push('\n');
            }
        }
        text.push_str(&format!("exit code {}\n", output.status.code().unwrap()));
        text
    }
}

/// Without what differs from one run or host to the next.
fn clean(text: &str, folder: &Path) -> String {
    text.replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn a_lab_that_was_never_up() {
    let place = Place::with(&[("lab.yml", LAB)]);
    insta::assert_snapshot!(place.transcript(&[
        &["validate"],
        &["status"],
        &["status", "--json"],
        &["snapshot", "list"],
        &["snapshot", "list", "--json"],
        &["halt"],
        &["destroy", "--yes"],
        &["exec", "web", "--", "true"],
        &["ssh", "web"],
        &["cat", "web", "/etc/hosts"],
        &["env"],
        &["export", "hcl"],
        &["logs", "web", "--console"],
        &["snapshot", "save", "one"],
        &["snapshot", "restore", "one"],
        &["suspend"],
        &["resume"],
        &["provision"],
        &["scenario", "heal"],
    ]));
}

#[test]
fn pictures_of_a_lab() {
    let place = Place::with(&[("lab.yml", LAB)]);
    insta::assert_snapshot!(place.transcript(&[&["graph"], &["graph", "--format", "dot"], &["graph", "--format", "dot", "--json"]]));
}

#[test]
fn mistakes_in_files() {
    let place = Place::with(&[("lab.yml", WRONG), ("scenarios/broken.yml", WRONG_SCENARIO)]);
    let lab = place.transcript(&[&["validate"], &["validate", "--json"], &["up"], &["status"]]);
    place.write("lab.yml", LAB);
    let scenario = place.transcript(&[&["scenario", "run", "broken"], &["scenario", "run", "broken", "--json"]]);
    insta::assert_snapshot!(format!("{lab}\n{scenario}"));
    let list = place.run(&["scenario", "list"]);
    assert!(list.lines().any(|line| line.starts_with("broken ") && line.ends_with("its file has mistakes, see below")), "{list}");
    assert!(list.contains("FOLDER/work/scenarios/broken.yml:5:1: steps: there is no such key"), "{list}");
    assert!(list.contains("\nkill_consul "), "{list}");
}

#[test]
fn mistakes_on_the_command_line() {
    let place = Place::with(&[]);
    let nowhere = place.transcript(&[
        &["up"],
        &["frobnicate"],
        &["down"],
        &["rm", "web", "--json"],
        &["snapshot", "pop"],
        &["destory"],
        &["statsu"],
        &["up", "--colour"],
        &["exec"],
        &["--lab", "nowhere.yml", "status"],
        &["--lab", "unknown", "status"],
        &["snapshot", "restore"],
        &["image", "rm", "solaris"],
        &["image", "template", "list"],
    ]);
    place.write("lab.yml", LAB);
    let unknown = place.transcript(&[
        &["up", "nobody"],
        &["up", "nobody", "--json"],
        &["exec", "nobody", "--", "true"],
        &["snapshot", "save", "../x"],
        &["scenario", "run", "nowhere"],
        &["clone", "tiny", "tiny"],
    ]);
    insta::assert_snapshot!(format!("{nowhere}\n{unknown}"));
}
