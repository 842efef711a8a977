//! Provisioning real machines: what the shipped roles promise, and what goes wrong on the way. One lab serves all checks, because starting
//! it is the expensive part.

use std::fs;
use std::time::{Duration, Instant};

use labctl_tests::{Sandbox, can_boot, repository};
use serde_json::Value;

const LAB: &str = "name: rough\nnetwork: {domain: rough.test}\nnodes:\n  - {name: \"n{index}\", count: 2, memory: 512M}\n";

/// One run of a playbook, as recorded in its events.
struct Run {
    events: Vec<Value>,
    code: Option<i32>,
}

impl Run {
    fn of(sandbox: &Sandbox, playbook: &str, arguments: &[&str]) -> Self {
        sandbox.write("site.yml", playbook);
        let output = sandbox.run(&[&["play", "--json", "site.yml"], arguments].concat());
        let text = String::from_utf8(output.stdout).expect("events are UTF-8 whatever programs print");
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(!events.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { events, code: output.status.code() }
    }

    fn results(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|event| event["event"] == "host_result")
    }

    /// The result of the task of that name.
    fn task(&self, name: &str) -> &Value {
        self.results().find(|event| event["task"] == name).unwrap_or_else(|| panic!("no task {name}: {:#?}", self.events))
    }

    /// Host and name of each task that changed something, handlers included.
    fn changes(&self) -> Vec<(String, String)> {
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        self.results().filter(|event| event["status"] == "changed").map(|event| (text(event, "host"), text(event, "task"))).collect()
    }

    fn count(&self, host: &str, what: &str) -> u64 {
        let recap = self.events.iter().find(|event| event["event"] == "recap").expect("every run ends with a recap");
        recap["recap"]["hosts"][host][what].as_u64().expect("a number")
    }
}

/// Waits for a condition; fails with its name.
fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One part of the story, run in a lab that is up.
type Check = fn(&Sandbox);

#[test]
fn provisioning_keeps_its_promises_whatever_breaks() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up", "--no-provision"]);
    let checks: [(&str, Check); 8] = [
        ("shipped roles", shipped_roles),
        ("another user", another_user),
        ("large things", large_things),
        ("odd output", odd_output),
        ("the agent dies", the_agent_dies),
        ("a full disk", a_full_disk),
        ("a reboot nobody announced", a_reboot_nobody_announced),
        ("a reboot that was asked for", a_reboot_that_was_asked_for),
    ];
    for (name, check) in checks {
        let begin = Instant::now();
        check(&sandbox);
        println!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
    }
}

/// A digest of everything that a role may change.
fn state(sandbox: &Sandbox, node: &str) -> String {
    let look = "find /etc /usr /opt /srv /var/lib/dpkg /var/lib/systemd -xdev -printf '%p %s %T@ %m %U %G %l\\n' | sort | sha256sum";
    sandbox.good(&["exec", node, "--", "sh", "-c", look])
}

fn shipped_roles(sandbox: &Sandbox) {
    let roles = repository().join("roles");
    std::os::unix::fs::symlink(&roles, sandbox.folder().join("roles")).expect("a link to the shipped roles");
    let playbook = "- hosts: n2\n  vars: {common_packages: [hello], common_environment: {COLOUR: blue}}\n  roles: [common, nginx_lb]\n  handlers:\n  - {name: Restart consul-template, debug: {msg: there is none here}}\n";
    let before = state(sandbox, "n2");
    let check = Run::of(sandbox, playbook, &["--check"]);
    assert_eq!(check.code, Some(0), "{:#?}", check.events);
    assert_eq!(state(sandbox, "n2"), before, "a check changed something");
    let first = Run::of(sandbox, playbook, &[]);
    assert_eq!(first.code, Some(0), "{:#?}", first.events);
    assert!(first.changes().len() >= 2, "{:?}", first.changes());
    // Debian's package starts nginx itself, which check mode cannot know: it reports that the role will start it, and that there is nothing
    // to reload.
    let ours = |run: &Run| -> Vec<_> {
        run.changes()
            .into_iter()
            .filter(|(_, task)| !task.ends_with(" nginx") || task.contains("Install") || task.contains("Configure"))
            .collect()
    };
    assert_eq!(ours(&check), ours(&first), "a check must predict what is then changed");
    for arguments in [&[][..], &["--check"]] {
        let again = Run::of(sandbox, playbook, arguments);
        assert_eq!((again.changes(), again.count("n2", "failed")), (vec![], 0));
    }
    assert!(sandbox.good(&["exec", "n2", "--", "hello"]).contains("Hello"));
}

fn another_user(sandbox: &Sandbox) {
    let content: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(sandbox.folder().join("mine"), &content).expect("a file");
    sandbox.write("tree/deep/one", "1\n");
    sandbox.write("who.sh", "#!/bin/sh\nid -un\n");
    let playbook = "- hosts: n1\n  gather_facts: false\n  tasks:\n  - user: {name: app}\n  - become: true\n    become_user: app\n    block:\n    - copy: {src: mine, dest: /home/app/mine}\n    - synchronize: {src: tree, dest: /home/app}\n    - {name: who, script: who.sh, changed_when: false}\n    - {name: forbidden, copy: {src: mine, dest: /etc/mine}, ignore_errors: true}\n  - {name: owner, command: \"stat -c '%U %a %s' /home/app/mine /home/app/tree/deep/one\", changed_when: false}\n";
    let run = Run::of(sandbox, playbook, &[]);
    assert_eq!(run.code, Some(0), "{:#?}", run.events);
    assert_eq!(run.task("who")["result"]["stdout"], "app\n");
    assert_eq!(run.task("owner")["result"]["stdout"], "app 644 200000\napp 644 2");
    assert_eq!(run.task("forbidden")["status"], "ignored");
    assert_eq!(Run::of(sandbox, playbook, &[]).count("n1", "changed"), 0);
}

fn large_things(sandbox: &Sandbox) {
    let big: Vec<u8> = (0..50_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(sandbox.folder().join("big"), &big).expect("a file");
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {src: big, dest: /srv/big, mode: '0640'}\n- hosts: n1\n  gather_facts: false\n  tasks:\n  - {name: sum, command: sha256sum /srv/big}\n  - {name: many, stat: {path: /srv/big, get_checksum: false}, loop: '{{ range(10000) | list }}', when: item % 20 == 0, register: r}\n  - {name: counted, debug: {msg: \"{{ r.results | length }} {{ r.results | selectattr('stat', 'defined') | list | length }}\"}}\n  - {name: lines, copy: {content: \"{% for i in range(10000) %}line {{ i }}\\n{% endfor %}\", dest: /srv/lines}}\n";
    let run = Run::of(sandbox, playbook, &[]);
    assert_eq!(run.code, Some(0), "{:#?}", run.results().collect::<Vec<_>>());
    let sum = run.task("sum")["result"]["stdout"].as_str().unwrap_or_default().to_owned();
    let local = std::process::Command::new("sha256sum").arg(sandbox.folder().join("big")).output().expect("sha256sum");
    assert_eq!(sum.split(' ').next(), String::from_utf8_lossy(&local.stdout).split(' ').next());
    assert_eq!(run.task("counted")["result"]["msg"], "10000 500");
    assert_eq!(sandbox.good(&["exec", "n1", "--", "wc", "-l", "/srv/lines"]), "10000 /srv/lines\n");
}

fn odd_output(sandbox: &Sandbox) {
    let playbook = "- hosts: n1\n  gather_facts: false\n  tasks:\n  - {name: binary, shell: \"printf 'a\\\\000b\\\\377c'\"}\n  - {name: hanging, shell: '(sleep 300 &); echo done'}\n  - {name: asking, command: passwd root, ignore_errors: true}\n  - {name: terminal, shell: 'read x < /dev/tty', ignore_errors: true}\n";
    let begin = Instant::now();
    let run = Run::of(sandbox, playbook, &[]);
    assert_eq!(run.code, Some(0), "{:#?}", run.events);
    assert_eq!(run.task("binary")["result"]["stdout"], "a\0b\u{fffd}c");
    assert_eq!(run.task("hanging")["result"]["stdout"], "done");
    assert_eq!(run.task("asking")["status"], "ignored", "a program that asks gets no answer: {}", run.task("asking"));
    assert_eq!(run.task("terminal")["status"], "ignored", "there is no terminal: {}", run.task("terminal"));
    assert!(begin.elapsed() < Duration::from_secs(60), "nothing may wait for what never comes");
}

fn the_agent_dies(sandbox: &Sandbox) {
    let playbook = |armed: bool| {
        let deadly = if armed { "kill -9 $PPID; sleep 5; touch /srv/afterwards" } else { "true" };
        format!(
            "- hosts: n1\n  gather_facts: false\n  tasks:\n  - {{name: before, file: {{path: /srv/before, state: directory}}}}\n  - {{name: deadly, shell: '{deadly}', changed_when: false}}\n  - {{name: goal, copy: {{content: x, dest: /srv/goal}}}}\n"
        )
    };
    let run = Run::of(sandbox, &playbook(true), &[]);
    assert_ne!(run.code, Some(0));
    let said = run.task("deadly")["result"]["msg"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("agent started anew"), "{said}");
    assert!(run.results().all(|event| event["task"] != "goal"));
    let again = Run::of(sandbox, &playbook(false), &[]);
    assert_eq!((again.code, again.count("n1", "changed")), (Some(0), 1), "{:#?}", again.events);
    assert_eq!(sandbox.good(&["exec", "n1", "--", "cat", "/srv/goal"]), "x");
}

fn a_full_disk(sandbox: &Sandbox) {
    let playbook = "- hosts: n2\n  gather_facts: false\n  tasks:\n  - {name: prepare, copy: {content: \"old\\n\", dest: /srv/kept}}\n  - {name: fill, shell: 'for size in 256M 16M 1M 64K 4K; do i=0; while fallocate -l $size /fill.$size.$i 2>/dev/null; do i=$((i+1)); done; done; cat /dev/zero > /fill.rest; true'}\n  - {name: inline, copy: {content: \"{{ 'x' * 60000 }}\", dest: /srv/kept}, ignore_errors: true}\n  - {name: sent, copy: {src: big, dest: /srv/kept}, ignore_errors: true}\n  - {name: line, lineinfile: {path: /etc/hosts, line: \"# {{ 'y' * 60000 }}\"}, ignore_errors: true}\n  - {name: account, user: {name: someone}, ignore_errors: true}\n  - {name: look, shell: 'cat /srv/kept; find / -xdev -name \".*labctl-*\" | grep . ; getent passwd someone; grep -c yyy /etc/hosts; ls /var/lib/labctl/spool', changed_when: false, failed_when: false}\n  - {name: free, shell: rm /fill.*}\n  - {name: again, copy: {src: big, dest: /srv/kept}}\n";
    let run = Run::of(sandbox, playbook, &[]);
    assert_eq!(run.code, Some(0), "{:#?}", run.results().collect::<Vec<_>>());
    for task in ["inline", "sent", "line", "account"] {
        let said = run.task(task)["result"]["msg"].as_str().unwrap_or_default();
        assert!(said.contains("No space left on device"), "{task}: {said}");
    }
    assert_eq!(run.task("look")["result"]["stdout"], "old\n0", "nothing may be half-written, nothing left behind");
    assert_eq!(run.task("again")["status"], "changed");
}

fn a_reboot_nobody_announced(sandbox: &Sandbox) {
    let playbook = |armed: bool| {
        let deadly = if armed { "sync; echo b > /proc/sysrq-trigger; sleep 60" } else { "true" };
        format!(
            "- hosts: n1\n  gather_facts: false\n  tasks:\n  - {{name: boots, shell: '{deadly}', changed_when: false}}\n  - {{name: goal, copy: {{content: y, dest: /srv/booted}}}}\n"
        )
    };
    let run = Run::of(sandbox, &playbook(true), &[]);
    assert_ne!(run.code, Some(0));
    let status = &run.task("boots")["status"];
    assert!(status == "failed" || status == "unreachable", "{:#?}", run.events);
    let mut last = None;
    until("the goal after the reboot", Duration::from_secs(120), || {
        let run = Run::of(sandbox, &playbook(false), &[]);
        let reached = run.code == Some(0);
        last = Some(run);
        reached
    });
    assert_eq!(sandbox.good(&["exec", "n1", "--", "cat", "/srv/booted"]), "y");
}

fn a_reboot_that_was_asked_for(sandbox: &Sandbox) {
    let playbook = "- hosts: n1\n  gather_facts: false\n  tasks:\n  - {name: before, command: cat /proc/sys/kernel/random/boot_id}\n  - {name: boots, reboot: {}}\n  - {name: after, command: cat /proc/sys/kernel/random/boot_id}\n";
    let run = Run::of(sandbox, playbook, &[]);
    assert_eq!(run.code, Some(0), "{:#?}", run.events);
    assert_ne!(run.task("before")["result"]["stdout"], run.task("after")["result"]["stdout"]);
}
