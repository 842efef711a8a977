//! `labctl play` as users see it: the controller as the machine, large inputs, failures half-way, Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder with a playbook and a separate labctl home.
struct Case {
    folder: tempfile::TempDir,
}

fn program() -> PathBuf {
    let target =
        || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let program = std::env::var_os("LABCTL").map_or_else(|| target().join("debug/labctl"), PathBuf::from);
    assert!(program.is_file(), "there is no {}: cargo build --package labctl", program.display());
    program
}

impl Case {
    fn new(playbook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hosts"), "one\ntwo\n[all:vars]\nansible_connection=local\n").unwrap();
        let case = Self { folder };
        case.write("site.yml", playbook.replace("FOLDER", &case.path("").display().to_string()));
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["play", "-i", "hosts", "site.yml"]).args(arguments).current_dir(self.folder.path());
        command.env("LABCTL_HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("run")).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn recap<'a>(events: &'a [Value], host: &str) -> &'a Value {
    &events.iter().find(|event| event["event"] == "recap").unwrap()["recap"]["hosts"][host]
}

#[test]
fn ten_thousand_items_take_seconds() {
    let case = Case::new(
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - set_fact: {n: '{{ item }}'}\n    loop: '{{ range(10000) | list }}'\n  - debug: {msg: '{{ n }}'}\n",
    );
    let begin = Instant::now();
    let events = case.events(&[]);
    assert!(events.iter().any(|event| event["result"]["msg"] == 9999));
    // Ansible takes some minutes; the limit allows for a busy machine and an unoptimised program.
    assert!(begin.elapsed() < Duration::from_secs(90), "{:?}", begin.elapsed());
}

#[test]
fn large_and_binary_files_arrive_whole() {
    let case = Case::new(
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - copy: {src: big, dest: FOLDER/out/big, mode: '0640'}\n  - copy: {src: bytes, dest: FOLDER/out/bytes}\n  - command: cat FOLDER/bytes\n    register: r\n  - debug: {msg: '{{ r.stdout | length }}'}\n  - slurp: {src: FOLDER/bytes}\n    register: s\n  - debug: {msg: '{{ s.content }}'}\n",
    );
    fs::create_dir(case.path("out")).unwrap();
    let big: Vec<u8> = (0..50_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    case.write("big", &big);
    case.write("bytes", b"a\xff\xfe\0b");
    let events = case.events(&[]);
    assert_eq!(recap(&events, "one")["failed"], 0, "{events:?}");
    assert!(fs::read(case.path("out/big")).unwrap() == big);
    assert_eq!(fs::read(case.path("out/bytes")).unwrap(), b"a\xff\xfe\0b");
    assert!(events.iter().any(|event| event["result"]["msg"] == "Yf/+AGI="));
}

#[test]
fn folders_are_made_alike_with_what_differs_only() {
    let case = Case::new(
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - synchronize: {src: tree/, dest: FOLDER/out, delete: true, rsync_opts: ['--exclude=*.log']}\n    register: r\n  - debug: {msg: '{{ r.stdout_lines }}'}\n  - synchronize: {src: FOLDER/out/sub, dest: FOLDER/back, mode: pull}\n",
    );
    fs::create_dir_all(case.path("tree/sub")).unwrap();
    fs::create_dir_all(case.path("out")).unwrap();
    for (name, content) in [("tree/a", "1"), ("tree/sub/b", "22"), ("tree/x.log", "no"), ("out/old", ""), ("out/kept.log", "")] {
        case.write(name, content);
    }
    let lines = |events: &[Value]| -> Vec<String> {
        let shown = events.iter().find_map(|event| event["result"]["msg"].as_array().filter(|_| event["event"] == "host_result"));
        shown.unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let check = case.events(&["--check"]);
    assert!(case.path("out/old").exists() && !case.path("out/a").exists());
    let first = case.events(&[]);
    assert_eq!(lines(&check), lines(&first));
    assert!(lines(&first).iter().any(|line| line == "*deleting   old"), "{:?}", lines(&first));
    assert!(lines(&first).iter().any(|line| line == "<f+++++++++ sub/b"), "{:?}", lines(&first));
    assert_eq!(fs::read(case.path("out/sub/b")).unwrap(), b"22");
    assert_eq!(fs::read(case.path("back/sub/b")).unwrap(), b"22");
    assert!(case.path("out/kept.log").exists() && !case.path("out/x.log").exists() && !case.path("out/old").exists());
    assert_eq!(recap(&case.events(&[]), "one")["changed"], 0);
    case.write("tree/a", "3");
    let again = case.events(&[]);
    assert!(lines(&again).iter().all(|line| line.ends_with(" a")) && lines(&again).len() == 1, "{:?}", lines(&again));
    assert_eq!(fs::read(case.path("out/a")).unwrap(), b"3");
}

#[test]
fn an_agent_that_dies_costs_only_its_host_the_play() {
    let case = Case::new(
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - shell: kill -9 $PPID\n    when: inventory_hostname == 'one'\n  - debug: {msg: on}\n- hosts: all\n  gather_facts: false\n  tasks:\n  - command: echo later\n",
    );
    let events = case.events(&[]);
    assert_eq!((&recap(&events, "one")["unreachable"], &recap(&events, "one")["ok"]), (&1.into(), &0.into()), "{events:?}");
    let after: Vec<&Value> = events.iter().filter(|event| event["event"] == "host_result" && event["host"] == "two").collect();
    assert!(!after.is_empty(), "{events:?}");
}

#[test]
fn secrets_stay_out_of_everything_that_is_written() {
    let case = Case::new(
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - copy: {content: topsecret, dest: FOLDER/out}\n    no_log: true\n    diff: true\n  - command: echo topsecret {{ item }}\n    loop: [topsecretitem]\n    no_log: true\n  - command: 'false topsecret'\n    no_log: true\n    ignore_errors: true\n  - debug: {msg: topsecret}\n    no_log: '{{ true }}'\n",
    );
    for arguments in [&["-vvv", "--diff"][..], &["--json", "-vvv", "--diff"]] {
        let output = case.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("topsecret"), "{}", String::from_utf8_lossy(&said));
    }
    let mut folders = vec![case.path("home")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let content = fs::read(entry.path()).unwrap();
                    let found = content.windows(9).any(|window| window == b"topsecret");
                    assert!(!found, "{} holds the secret", entry.path().display());
                }
            }
        }
    }
}

/// Sends SIGINT to a process that we started.
fn interrupt(pid: u32) {
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn ctrl_c_ends_between_tasks_and_twice_at_once() {
    let case = Case::new(
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - name: first\n    shell: 'touch FOLDER/begun; until [ -e FOLDER/go ]; do sleep 0.05; done; touch FOLDER/ended'\n  - name: second\n    command: touch FOLDER/second\n",
    );
    let begun = |case: &Case| {
        let begin = Instant::now();
        while !case.path("begun").exists() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    };
    let mut child = case.command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    begun(&case);
    interrupt(child.id());
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(errors.any(|line| line.unwrap().contains("stopping after")));
    case.write("go", "");
    assert_eq!(child.wait().unwrap().code(), Some(8));
    assert!(case.path("ended").exists() && !case.path("second").exists());

    for name in ["begun", "go", "ended"] {
        fs::remove_file(case.path(name)).unwrap();
    }
    let mut child = case.command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    begun(&case);
    interrupt(child.id());
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(errors.any(|line| line.unwrap().contains("stopping after")));
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // Lets the leftover shell exit.
    case.write("go", "");
}

#[test]
fn lists_need_no_machine() {
    let case = Case::new("- name: p\n  hosts: all:!two\n  tasks:\n  - name: a\n    debug:\n    tags: [x, y]\n  - name: b\n    debug:\n");
    let text = |arguments: &[&str]| String::from_utf8(case.run(arguments).stdout).unwrap();
    assert!(text(&["--list-tasks"]).contains("x,y"));
    let hosts = text(&["--list-hosts"]);
    assert!(hosts.contains("one") && !hosts.contains("two"), "{hosts}");
    assert_eq!(text(&["--list-tags"]).trim(), "x\ny");
    assert!(!case.path("home/agent/agent.log").exists());
}

#[test]
fn wrong_input_is_one_clear_error() {
    let case = Case::new("- hosts: all\n  tasks:\n  - debug: {msg: a}\n    nonsense: 1\n");
    let output = case.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(said.contains("site.yml:4") && said.contains("nonsense"), "{said}");
    case.write("hosts", "[web:nope]\n");
    let output = case.run(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown type: nope"));
}
