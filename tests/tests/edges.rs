//! Edge cases in a lab's life: its file changes while it runs, its record is damaged, its folder disappears.

use std::process::Command;
use std::time::Duration;

use labctl_tests::{Sandbox, can_boot, until};

/// Standard error of a command that must succeed.
fn said(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.run(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "labctl {}: {errors}", args.join(" "));
    errors
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn a_changed_lab_file_is_applied_or_told() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let head = "name: edited\nnetwork: {subnet: 10.98.0.0/24}\nnodes:\n";
    let write = |nodes: &str| sandbox.write("lab.yml", &format!("{head}{nodes}"));
    write("  - {name: a, memory: 256M, publish: [22, 8080], hostnames: [old.edited.test]}\n  - {name: b, memory: 256M}\n");
    said(&sandbox, &["up"]);
    // At once: names, ports, an account, an additional node. Reported: what needs a restart, what the file no longer names.
    write(
        "  - {name: a, cpus: 2, memory: 384M, disk: 9G, publish: [\"8080:81\", 9090], hostnames: [new.edited.test], user: {name: dev, groups: [adm, docker], sudo: true}}\n  - {name: c, memory: 256M, address: 10.98.0.30, user: {name: dev}}\n",
    );
    let told = said(&sandbox, &["up"]);
    has(
        &told,
        &["a: cpus 1 -> 2, memory 256M -> 384M, disk 8G -> 9G", "labctl reload a", "b is no longer in the lab file", "labctl destroy b"],
    );
    let status = sandbox.status();
    assert_eq!(status["nodes"][0]["published"], serde_json::json!([[8080, 81], [9090, 9090]]));
    assert_eq!(status["nodes"][0]["cpus"], 1, "what runs, not what the file says");
    assert_eq!((&status["nodes"][2]["name"], &status["nodes"][2]["left"]), (&"b".into(), &true.into()));
    for node in ["a", "b"] {
        let hosts = sandbox.good(&["exec", node, "--", "cat", "/etc/hosts"]);
        has(&hosts, &["new.edited.test", "10.98.0.30 c.edited c"]);
        assert!(!hosts.contains("old.edited.test"), "{hosts}");
    }
    // The account is there, in a node that ran and in a new one, and a reboot changes nothing about it.
    let account = |node: &str| sandbox.good(&["ssh", node, "--", "id", "-un;", "id", "-Gn;", "stat", "-c", "%a", "~/.ssh/authorized_keys"]);
    assert_eq!(account("c"), "dev\ndev\n600\n");
    let before = account("a");
    let (name, groups) = before.split_once('\n').unwrap();
    assert!(name == "dev" && groups.contains("adm") && groups.contains("docker"), "{before}");
    assert_eq!(sandbox.good(&["exec", "a", "-u", "--", "id", "-un"]), "dev\n");
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/etc/sudoers.d/labctl"]), "dev ALL=(ALL:ALL) NOPASSWD: ALL\n");
    assert_eq!(sandbox.good(&["ssh", "-l", "root", "a", "--", "id", "-un"]), "root\n");
    assert_eq!(sandbox.good(&["ssh", "a", "--", "-v", "-oLogLevel=ERROR", "id", "-un"]), "dev\n", "by OpenSSH");
    // A restart applies the rest.
    let told = said(&sandbox, &["reload", "a"]);
    assert!(!told.contains("warning: a:"), "{told}");
    assert_eq!(account("a"), before);
    let shape = sandbox.good(&["exec", "a", "--", "sh", "-c", "nproc; df -BG --output=size / | tail -n 1"]);
    let shape: Vec<&str> = shape.split_whitespace().collect();
    assert!(shape[0] == "2" && matches!(shape[1], "9G"), "{shape:?}");
    // A node that the file no longer names is removed like any other, and only then is it gone.
    said(&sandbox, &["destroy", "--force", "b"]);
    assert_eq!(sandbox.status()["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.machines().len(), 2);
    // Changes that would cut running guests off are refused, and nothing is changed.
    write("  - {name: x, memory: 256M}\n  - {name: a, memory: 384M}\n");
    let (code, refused) = sandbox.bad(&["up"]);
    assert_eq!(code, 6, "{refused}");
    has(&refused, &["a: 10.98.0.10 -> 10.98.0.11", "nothing was changed", "labctl halt"]);
    sandbox.write("lab.yml", "name: edited\nnetwork: {subnet: 10.97.0.0/24}\nnodes: [{name: a, memory: 384M}]\n");
    let (code, refused) = sandbox.bad(&["up"]);
    assert_eq!(code, 6, "{refused}");
    has(&refused, &["network.subnet: 10.98.0.0/24 -> 10.97.0.0/24", "labctl reload"]);
    has(&sandbox.good(&["exec", "a", "--", "ping", "-c1", "-W20", "c.edited"]), &["1 received"]);
    // The whole lab in another network.
    has(&said(&sandbox, &["reload"]), &["c is no longer in the lab file, but still exists"]);
    has(&sandbox.good(&["exec", "a", "--", "ip", "-4", "-br", "address"]), &["10.97.0.10/24"]);
}

#[test]
fn a_lab_whose_folder_is_gone_leaves_nothing_after_prune() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: lost\nnodes: [{name: a, memory: 256M}]\n");
    said(&sandbox, &["up"]);
    let supervisor = sandbox.status()["supervisor"].to_string();
    assert!(Command::new("kill").args(["-9", &supervisor]).status().unwrap().success());
    std::fs::remove_dir_all(sandbox.home().join("labs/lost")).unwrap();
    let found = sandbox.good(&["prune"]);
    has(&found, &["machine labctl:lost/a"]);
    assert_eq!(sandbox.machines().len(), 1, "nothing is ended unasked");
    sandbox.good(&["prune", "--force"]);
    assert!(sandbox.machines().is_empty());
    // The killed supervisor may have been making a template, and what it had started may still be exiting: that is left over a moment later.
    until("nothing is left over", Duration::from_secs(30), || {
        sandbox.good(&["prune", "--force"]);
        said(&sandbox, &["prune"]).contains("nothing is left over")
    });
}

/// Whether the process exists; one that has exited but was not reaped does not count.
fn is_alive(pid: &str) -> bool {
    let about = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    about.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_supervisor_serves_though_its_starter_is_gone() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: orphaned\nnodes: [{name: a, memory: 256M}]\n");
    said(&sandbox, &["up"]);
    let first = sandbox.status()["supervisor"].to_string();
    assert!(Command::new("kill").args(["-9", &first]).status().unwrap().success());
    // It holds the lab's lock until the kernel has cleaned it up.
    until("it is gone", Duration::from_secs(20), || !is_alive(&first));
    // Nothing reads the message that it prints once it listens.
    let unheard = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        sandbox.command(&["supervisor", "orphaned"]).stdout(writer).spawn().unwrap()
    };
    let mut supervisor = unheard();
    until("it serves", Duration::from_secs(60), || {
        // A program that the killed one was just starting holds its lock a moment longer: then the place is taken.
        if let Some(status) = supervisor.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            supervisor = unheard();
        }
        sandbox.status()["supervisor"] == supervisor.id()
    });
    // A second one finds the place taken, and reports that to the process that started it.
    assert_eq!(sandbox.good(&["supervisor", "orphaned"]), "taken\n");
    // It exits by itself when nothing runs; a command that connects at any moment of that is served.
    said(&sandbox, &["halt", "--force"]);
    until("it ends", Duration::from_secs(30), || {
        sandbox.status();
        std::thread::sleep(Duration::from_millis(2010));
        supervisor.try_wait().unwrap().is_some()
    });
    sandbox.status();
}

#[test]
fn a_lab_is_found_from_every_session_and_what_is_lost_is_told() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: sessions\nnodes: [{name: a, memory: 256M}]\n");
    said(&sandbox, &["up"]);
    // Another login, cron: the runtime folder is another, or none.
    for other in [Some("/nonexistent"), None] {
        let mut command = sandbox.command(&["exec", "a", "--", "sh", "-c", "echo kept > /root/kept; sync"]);
        match other {
            Some(folder) => command.env("XDG_RUNTIME_DIR", folder),
            None => command.env_remove("XDG_RUNTIME_DIR"),
        };
        assert!(command.status().unwrap().success(), "{other:?}");
    }
    a_stopped_machine_holds_up_nobody(&sandbox);
    // The supervisor makes its socket again, and still has its connections to the machine.
    let first = sandbox.status()["supervisor"].to_string();
    let run = sandbox.home().join("labs/sessions/run");
    std::fs::remove_dir_all(&run).unwrap();
    assert_eq!(sandbox.status()["supervisor"].to_string(), first);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/kept"]), "kept\n");
    assert_eq!(sandbox.json(&["list"])[0]["state"], "running");
    // Without it nothing can reach the machine.
    let lose = || {
        let supervisor = sandbox.status()["supervisor"].to_string();
        let _ = std::fs::remove_dir_all(&run);
        assert!(Command::new("kill").args(["-9", &supervisor]).status().unwrap().success());
        until("it is gone", Duration::from_secs(20), || !is_alive(&supervisor));
    };
    lose();
    assert_eq!(sandbox.status()["nodes"][0]["state"], "unreachable");
    let (_, refused) = sandbox.bad(&["exec", "a", "--", "true"]);
    has(&refused, &["a cannot be reached", "0.qmp", "labctl up a"]);
    assert_eq!(sandbox.machines().len(), 1);
    has(&said(&sandbox, &["up"]), &["warning: a: its machine could not be controlled and was ended, as by a power failure"]);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/kept"]), "kept\n");
    lose();
    has(&said(&sandbox, &["destroy", "--force"]), &["a: its machine could not be controlled and was ended"]);
    assert!(sandbox.machines().is_empty());
    assert!(!sandbox.home().join("labs/sessions").exists());
}

/// Somebody stops a QEMU, and the supervisor dies: the next one starts, and says what is wrong and how it ends.
fn a_stopped_machine_holds_up_nobody(sandbox: &Sandbox) {
    let machine = sandbox.machines()[0].to_string();
    let signal = |name: &str, pid: &str| assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    let supervisor = sandbox.status()["supervisor"].to_string();
    signal("-STOP", &machine);
    signal("-9", &supervisor);
    until("it is gone", Duration::from_secs(20), || !is_alive(&supervisor));
    // Without a supervisor.
    let unattended = sandbox.good(&["status"]);
    has(&unattended, &["unreachable", "the process is stopped", &format!("`kill -CONT {machine}`")]);
    let (_, refused) = sandbox.bad(&["exec", "a", "--", "true"]);
    has(&refused, &["a cannot be reached", "the process is stopped", &format!("`kill -CONT {machine}`"), "labctl up a"]);
    assert_eq!(sandbox.status()["nodes"][0]["state"], "unreachable");
    signal("-CONT", &machine);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/kept"]), "kept\n");
    assert_eq!(sandbox.machines()[0].to_string(), machine, "it was not booted again");
}

#[test]
fn one_labs_damaged_record_stops_no_other() {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: good\nnodes: [{name: a}]\n");
    let damaged = sandbox.home().join("labs/damaged");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("lab.json"), "{").unwrap();
    has(&sandbox.good(&["status"]), &["a     not created"]);
    has(&sandbox.good(&["prune"]), &["labs/damaged"]);
    sandbox.good(&["prune", "--force"]);
    assert!(!damaged.exists());
}

#[test]
fn logs_follow_a_file() {
    use std::io::{BufRead, Write};
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: logged\nnodes: [{name: a}]\n");
    let node = sandbox.home().join("labs/logged/nodes/a");
    std::fs::create_dir_all(&node).unwrap();
    let log = node.join("console.log");
    std::fs::write(&log, "one\ntwo\n").unwrap();
    assert_eq!(sandbox.good(&["logs", "a", "--console", "-n", "1"]), "two\n");
    let mut follower =
        sandbox.command(&["logs", "a", "--console", "--follow", "-n", "1"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    std::fs::File::options().append(true).open(&log).unwrap().write_all(b"three\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "three");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_reader_that_goes_is_no_fault_and_a_full_disk_is() {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: piped\nnodes: [{name: a}]\n");
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(&["status"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    has(&String::from_utf8_lossy(&output.stderr), &["standard output", "No space left"]);
    // What cannot be told ends nothing: not even by its own exit code.
    assert_eq!(sandbox.command(&["exec", "nobody", "--", "true"]).stderr(full()).status().unwrap().code(), Some(6));
    assert_eq!(
        sandbox.command(&["status", "--debug"]).stdout(std::process::Stdio::null()).stderr(full()).status().unwrap().code(),
        Some(0)
    );
    // The reader exits before the first byte arrives.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = sandbox.command(&["schema", "lab"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
