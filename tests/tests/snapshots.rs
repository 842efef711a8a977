//! Snapshots of a whole lab: what they restore, what they refuse, and what a crash half-way leaves behind.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labctl_tests::writers::{self, Writers};
use labctl_tests::{Sandbox, can_boot, kill, kill_supervisor, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const LAB: &str = "name: past\nnodes: [{name: 'past{index}', count: 2, memory: 256M}]\n";

/// Accepts one connection and appends every received line to a file.
const SERVER: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 1, ReuseAddr => 1) or die; \
    open $f, '>>', '/run/lines'; $f->autoflush; $c = $s->accept; while (<$c>) { print $f $_ } print $f qq(closed\\n)";

/// Sends a line every tenth of a second over one connection.
const CLIENT: &str = "use IO::Socket::INET; until ($c = IO::Socket::INET->new('past2:7000')) { select undef, undef, undef, 0.1 } \
    $c->autoflush; $SIG{PIPE} = 'IGNORE'; while (1) { print $c ++$n, qq(\\n) or last; select undef, undef, undef, 0.1 } \
    open $f, '>', '/run/broken'";

/// The number of the last line that arrived over the connection.
fn last_line(sandbox: &Sandbox) -> u64 {
    let said = sandbox.run(&["exec", "past2", "--", "tail", "-n1", "/run/lines"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.contains("closed"), "the connection broke");
    said.trim().parse().unwrap_or(0)
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let listed: Value = sandbox.json(&["snapshot", "list"]);
    listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn all_run(sandbox: &Sandbox) -> bool {
    sandbox.status()["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "running")
}

#[test]
fn a_lab_goes_back_to_what_it_was() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let file = sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.run_perl("past2", SERVER);
    sandbox.run_perl("past1", CLIENT);
    until("a connection between the nodes", Duration::from_secs(30), || last_line(&sandbox) > 3);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo one > /root/word; echo kept > /run/memory; sync"]);

    let writers = Writers::start(&sandbox, "past", &["past1", "past2"], 8);
    let saved: Value = sandbox.json(&["snapshot", "save", "one", "--verify"]);
    assert_eq!(saved["nodes"], 2);
    println!("saved: {} ms of pause, {} KiB of memory", saved["pause_ms"], saved["memory_bytes"].as_u64().unwrap() >> 10);
    let at_save = last_line(&sandbox);
    sandbox.good(&[
        "exec",
        "past1",
        "--",
        "sh",
        "-c",
        "echo two > /root/word; echo more > /root/more; dd if=/dev/urandom of=/root/big bs=1M count=8 2>/dev/null; sync",
    ]);
    let different = sandbox.good(&["snapshot", "diff", "one"]);
    assert!(different.contains("past1: its disk has grown by") && different.contains("the lab file is the same"), "{different}");
    assert!(sandbox.bad(&["snapshot", "save", "one"]).1.contains("snapshot `one` already exists"));

    // Restored: files, memory, the connection, the clock.
    for _ in 0..2 {
        let start = Instant::now();
        sandbox.good(&["snapshot", "restore", "one"]);
        println!("restored in {:.2} s", start.elapsed().as_secs_f64());
        let before = seconds();
        let said: f64 = sandbox.good(&["exec", "past1", "--", "date", "+%s.%N"]).trim().parse().unwrap();
        assert!(said > before - 0.2 && said < seconds() + 0.2, "the clock says {said}, here it is {before}");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "sh", "-c", "cat /root/word /run/memory; ls /root"]), "one\nkept\nword\n");
        let back = last_line(&sandbox);
        assert!(back > 0 && back < at_save + 300, "{back} lines, {at_save} when it was saved");
        until("the connection goes on", Duration::from_secs(20), || last_line(&sandbox) > back + 3);
        assert!(!sandbox.run(&["exec", "past1", "--", "test", "-e", "/run/broken"]).status.success());
        writers.assert_whole();
    }

    // Suspended, everything is on disk; resumed, everything continues.
    sandbox.good(&["suspend"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.status()["nodes"][0]["state"], "suspended");
    sandbox.good(&["resume"]);
    let back = last_line(&sandbox);
    until("the connection goes on after suspend", Duration::from_secs(20), || last_line(&sandbox) > back + 3);
    writers.assert_whole();
    assert!(sandbox.bad(&["resume"]).1.contains("is not suspended"));

    // Refused commands change nothing.
    let place = sandbox.home().join("labs/past/snapshots/one");
    let (state, about) = (place.join("past2/state"), place.join("snapshot.json"));
    let (whole, text) = (fs::read(&state).unwrap(), fs::read_to_string(&about).unwrap());
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "one"]).1.contains("is damaged"));
    assert!(sandbox.bad(&["clone", "past", "anna", "--snapshot", "one"]).1.contains("is damaged"));
    assert!(!sandbox.home().join("labs/anna").exists(), "half a clone");
    fs::write(&state, &whole).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["qemu"] = "QEMU emulator version 3.1".into();
    fs::write(&about, other.to_string()).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("QEMU emulator version 3.1") && said.contains("--cold"), "{said}");
    let said = sandbox.bad(&["clone", "past", "anna", "--snapshot", "one", "--subnet", "10.99.0.0/24"]).1;
    assert!(said.contains("QEMU emulator version 3.1") && !sandbox.home().join("labs/anna").exists(), "{said}");
    other["qemu"] = serde_json::from_str::<Value>(&text).unwrap()["qemu"].clone();
    // Snapshots of older versions do not record whether the nodes were stopped.
    other.as_object_mut().unwrap().remove("stopped");
    fs::write(&about, other.to_string()).unwrap();
    let emulated = sandbox.status()["accel"] == "tcg";
    for refused in [&["snapshot", "restore", "one"][..], &["clone", "past", "anna", "--snapshot", "one"]].into_iter().filter(|_| emulated) {
        let said = sandbox.bad(refused).1;
        assert!(said.contains("may be missing") && said.contains("nothing was changed; `labctl snapshot restore one --cold`"), "{said}");
    }
    assert_eq!(sandbox.json(&["snapshot", "list"])[0]["memory_may_be_wrong"], emulated);
    other["version"] = 99.into();
    fs::write(&about, other.to_string()).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "one"]).1.contains("format 99"));
    fs::write(&about, &text[..text.len() / 2]).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("snapshot.json"), "{said}");
    fs::write(&about, &text).unwrap();
    fs::write(&file, LAB.replace("count: 2", "count: 3")).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("the lab file changed since snapshot `one`") && said.contains("past3"), "{said}");
    fs::write(&file, LAB).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "none"]).1.contains("known snapshots: one"));
    assert!(sandbox.bad(&["snapshot", "save", "../x"]).1.contains("not a valid snapshot name"));
    assert!(all_run(&sandbox));
    until("the connection goes on after all that", Duration::from_secs(20), || last_line(&sandbox) > back + 3);

    // A node that is down is named; from a lab that is off, everything comes back.
    sandbox.good(&["halt", "past2"]);
    let said = sandbox.bad(&["snapshot", "save", "two"]).1;
    assert!(said.contains("past2 is off"), "{said}");
    assert_eq!(names(&sandbox), ["one"]);
    sandbox.good(&["halt"]);
    // Names and ports are those of the lab file as it is now.
    sandbox.write("lab.yml", &LAB.replace("256M", "256M, publish: [7001], hostnames: ['new{index}.test']"));
    let restored = sandbox.run(&["snapshot", "restore", "one"]);
    let said = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success() && said.contains("past1: its published ports and names are those of the lab file"), "{said}");
    assert!(all_run(&sandbox));
    assert_eq!(sandbox.status()["nodes"][0]["published"], serde_json::json!([[7001, 7001]]));
    sandbox.good(&["exec", "past1", "--", "grep", "new2.test", "/etc/hosts"]);
    until("the connection goes on after halt", Duration::from_secs(20), || last_line(&sandbox) > 3);

    // The disks alone: the nodes boot with the files of the snapshot.
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo three > /root/word; sync"]);
    sandbox.good(&["snapshot", "restore", "one", "--cold"]);
    assert_eq!(sandbox.good(&["exec", "past1", "--", "sh", "-c", "cat /root/word; ls /run/memory 2>/dev/null; hostname"]), "one\npast1\n");

    sandbox.good(&["snapshot", "rm", "one"]);
    assert_eq!(names(&sandbox), Vec::<String>::new());
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.disk_layers(), 0, "nobody rests on a layer any more");
}

/// kill -9 of the command, the supervisor or a machine while a snapshot is saved or restored: it exists complete or not at all, and the lab
/// comes up.
#[test]
fn a_snapshot_that_is_cut_off_is_whole_or_absent() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(7));
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo good > /root/word; sync"]);
    sandbox.good(&["snapshot", "save", "good"]);
    for round in 0..8 {
        let saving = round % 2 == 0;
        let args: &[&str] = if saving { &["snapshot", "save", "cut", "--replace"] } else { &["snapshot", "restore", "good"] };
        let mut command = sandbox.start(args);
        let moment = Duration::from_millis(random.random_range(5..1500));
        std::thread::sleep(moment);
        let victim = random.random_range(0..3);
        println!("round {round}: {} and after {moment:?} kill {}", args[1], ["the command", "the supervisor", "a QEMU"][victim]);
        match victim {
            0 => command.kill().unwrap(),
            1 => kill_supervisor(&sandbox),
            _ => {
                if let Some(pid) = sandbox.machines().first() {
                    kill(*pid);
                }
            }
        }
        command.wait().unwrap();
        sandbox.good(&["up"]);
        assert!(all_run(&sandbox), "round {round}");
        assert_eq!(sandbox.machines().len(), 2, "round {round}: a machine too many or too few");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/root/word"]), "good\n", "round {round}");
        for name in names(&sandbox) {
            sandbox.good(&["snapshot", "restore", &name]);
            assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/root/word"]), "good\n", "round {round}: {name}");
        }
    }
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.disk_layers(), 0);
}

/// The second `up` of a lab from the same inputs restores it; with different inputs it provisions.
#[test]
fn a_provisioned_lab_comes_back_without_provisioning() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let lab =
        "name: kept\nvariables: {word: first}\nnodes: [{name: k, count: 2, memory: 256M}]\nprovision:\n  - hosts: all\n    roles: [say]\n";
    sandbox.write("lab.yml", lab);
    sandbox.write(
        "roles/say/tasks/main.yml",
        "- copy: {content: '{{ word }}', dest: /root/word}\n- shell: cat /proc/sys/kernel/random/uuid > /root/once\n\
         - copy: {src: writer.pl, dest: /root/writer.pl}\n- command: systemd-run -q --unit=writer perl /root/writer.pl 8\n",
    );
    sandbox.write("roles/say/files/writer.pl", writers::PROGRAM);
    let once = |sandbox: &Sandbox| sandbox.good(&["exec", "k1", "--", "cat", "/root/once", "/root/word"]);
    let up = |sandbox: &Sandbox, args: &[&str]| {
        let output = sandbox.run(&[&["up"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
    };
    up(&sandbox, &[]);
    let first = once(&sandbox);
    let writers = Writers::started(&sandbox, "kept", &["k1", "k2"]);
    sandbox.good(&["exec", "k1", "--", "sh", "-c", "echo spoilt > /root/word"]);
    sandbox.good(&["destroy", "--force"]);

    let said = up(&sandbox, &[]);
    assert!(said.contains("restored as it was provisioned"), "{said}");
    assert_eq!(once(&sandbox), first);
    assert!(all_run(&sandbox));
    writers.assert_whole();
    sandbox.good(&["destroy", "--force"]);

    let said = up(&sandbox, &["--no-cache"]);
    assert!(!said.contains("restored as"), "{said}");
    let second = once(&sandbox);
    assert_ne!(second, first);
    sandbox.good(&["destroy", "--force"]);

    sandbox.write("lab.yml", &lab.replace("first", "other"));
    let said = up(&sandbox, &[]);
    assert!(!said.contains("restored as"), "{said}");
    assert!(once(&sandbox).ends_with("other"));
}

/// Puts the sandbox's home on a small file system of its own; dropping it removes that, and the lab with it.
struct Small<'a>(&'a Sandbox);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["destroy", "--force"]);
        let _ = Command::new("umount").arg("--lazy").arg(self.0.home()).status();
    }
}

#[test]
fn a_full_disk_costs_the_snapshot_alone() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let store = std::fs::read_link(sandbox.home().join("store")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=290m", "tmpfs"]).arg(sandbox.home()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        labctl_skip::skip!("small-disk", "only root mounts a small file system");
        return;
    }
    let _small = Small(&sandbox);
    std::os::unix::fs::symlink(store, sandbox.home().join("store")).unwrap();
    sandbox.write("lab.yml", "name: full\nnodes: [{name: a, memory: 256M}]\n");
    sandbox.good(&["up"]);
    // Data that no template has, more than there is room for.
    sandbox.good(&["exec", "a", "--", "sh", "-c", "head -c 80000000 /dev/urandom > /dev/shm/much; echo kept > /dev/shm/kept"]);
    let filler = sandbox.home().join("filler");
    std::fs::write(&filler, vec![0; 230_000_000]).unwrap();
    let (code, said) = sandbox.bad(&["snapshot", "save", "one"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("No space left on device") && said.contains("free some disk space"), "{said}");
    assert_eq!(sandbox.json(&["snapshot", "list"]).as_array().map(Vec::len), Some(0), "half a snapshot");
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/dev/shm/kept"]), "kept\n", "the node went on");
    std::fs::remove_file(filler).unwrap();
    sandbox.good(&["snapshot", "save", "one"]);
    sandbox.good(&["exec", "a", "--", "rm", "/dev/shm/kept"]);
    sandbox.good(&["snapshot", "restore", "one"]);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/dev/shm/kept"]), "kept\n");

    // A guest that writes more than there is room for stands still: what was asked of it fails, and so does a new command.
    let (code, _) = sandbox.bad(&["exec", "a", "--", "sh", "-c", "yes | head -c 400m > /root/fill; sync"]);
    assert_eq!(code, 7);
    let node = &sandbox.status()["nodes"][0];
    assert_eq!(node["state"], "disk_full", "{node}");
    let (code, said) = sandbox.bad(&["exec", "a", "--", "true"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("a: its machine stands still, because the host's disk is full") && said.contains("labctl up a"), "{said}");
    assert_eq!(sandbox.bad(&["resume"]).0, 4, "there is no room yet");
    // A supervisor that finds the machine so can write nothing either, and takes over all the same.
    let machines = sandbox.machines();
    kill_supervisor(&sandbox);
    let (code, said) = sandbox.bad(&["exec", "a", "--", "true"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("a: its machine stands still, because the host's disk is full"), "{said}");
    assert_eq!(sandbox.bad(&["resume"]).0, 4, "still none");
    assert_eq!((&sandbox.status()["nodes"][0]["state"], sandbox.machines()), (&"disk_full".into(), machines));
    let grown = Command::new("mount").args(["-o", "remount,size=900m"]).arg(sandbox.home()).status();
    assert!(grown.is_ok_and(|status| status.success()));
    sandbox.good(&["resume"]);
    assert_eq!(sandbox.status()["nodes"][0]["state"], "running");
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/dev/shm/kept"]), "kept\n", "nothing was lost");
}
