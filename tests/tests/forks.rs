//! Nodes that are forked from one template: their identity, what they share, what they keep, and what a crash leaves behind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use labctl_tests::{Sandbox, can_boot, kill, kill_supervisor, machines, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What must differ from node to node, one item a line.
const OWN: &str = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /sys/class/dmi/id/product_uuid /sys/class/net/eth0/address; \
    cat /etc/hostname; hostname; cat /etc/ssh/ssh_host_*_key.pub; cat /etc/ssh/ssh_host_*_key | sha256sum; \
    ip -4 -o addr show dev eth0 | awk '{print $4}'; ip -6 -o addr show dev eth0 scope global | awk '{print $4}'; cat /proc/sys/kernel/random/uuid; \
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; systemd-id128 new";

/// What a reboot must keep.
const KEPT: &str = "cat /etc/machine-id /sys/class/dmi/id/product_uuid /sys/class/net/eth0/address /etc/hostname; hostname; \
    cat /etc/ssh/ssh_host_*_key.pub; ip -o addr show dev eth0 scope global | awk '{print $4}'; getent hosts fork1 fork2 fork3; ip route";

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn forks_share_nothing_that_identifies_them_and_keep_it() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: forks\nnodes: [{name: 'fork{index}', count: 3, memory: 256M}]\n");
    sandbox.good(&["up"]);
    let nodes = ["fork1", "fork2", "fork3"];

    // The wall clock is right immediately.
    for node in nodes {
        let before = seconds();
        let said: f64 = sandbox.good(&["exec", node, "--", "date", "+%s.%N"]).trim().parse().unwrap();
        let after = seconds();
        assert!(said > before - 0.1 && said < after + 0.1, "{node}'s clock says {said}, here it was {before} to {after}");
    }

    // No node shares any of these with another.
    let own: Vec<Vec<String>> =
        nodes.iter().map(|node| sandbox.good(&["exec", node, "--", "sh", "-c", OWN]).lines().map(str::to_owned).collect()).collect();
    assert!(own[0].len() == 15, "{own:#?}");
    for (line, _) in own[0].iter().enumerate() {
        let values: BTreeSet<&String> = own.iter().map(|node| &node[line]).collect();
        assert_eq!(values.len(), nodes.len(), "line {line} of {own:#?}");
    }
    for (node, own) in nodes.iter().zip(&own) {
        assert_eq!((own[4].as_str(), own[5].as_str()), (*node, *node));
    }

    // They know and reach each other; the journal continues; a service that starts now sees no jump in time.
    until("fork1 reaches fork3", Duration::from_secs(20), || {
        sandbox.run(&["exec", "fork1", "--", "ping", "-c1", "-W1", "fork3"]).status.success()
    });
    // The first line starts the journal.
    sandbox.good(&["exec", "fork2", "--", "logger", "-t", "test", "hello"]);
    until("the journal has the line", Duration::from_secs(20), || {
        sandbox.good(&["exec", "fork2", "--", "journalctl", "-q", "-t", "test", "-o", "cat"]) == "hello\n"
    });
    let timed = "systemd-run -q --wait -p RuntimeMaxSec=5 true && systemd-run -q --wait --on-active=0.2 true 2>/dev/null; echo fine";
    assert_eq!(sandbox.good(&["exec", "fork2", "--", "sh", "-c", timed]), "fine\n");
    assert_eq!(sandbox.good(&["ssh", "fork2", "--", "hostname"]), "fork2\n");

    // After a reboot each has the same identity.
    let before = sandbox.good(&["exec", "fork2", "--", "sh", "-c", KEPT]);
    let boot_id = sandbox.good(&["exec", "fork2", "--", "cat", "/proc/sys/kernel/random/boot_id"]);
    sandbox.good(&["reload", "fork2"]);
    assert_eq!(sandbox.good(&["exec", "fork2", "--", "sh", "-c", KEPT]), before);
    assert_ne!(sandbox.good(&["exec", "fork2", "--", "cat", "/proc/sys/kernel/random/boot_id"]), boot_id);

    // A template in use by disks is not removed.
    let listed: serde_json::Value = sandbox.json(&["image", "template", "list"]);
    let used = listed.as_array().unwrap().iter().max_by_key(|template| template["used_unix"].as_u64()).unwrap();
    let (_, said) = sandbox.bad(&["image", "template", "rm", used["key"].as_str().unwrap()]);
    assert!(said.contains("are based on template"), "{said}");
    assert_eq!(sandbox.good(&["exec", "fork3", "--", "hostname"]), "fork3\n");
}

/// kill -9 while a template is being made: it exists complete or not at all, and nothing is left over.
#[test]
fn a_template_whose_making_is_killed_is_whole_or_absent() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(5));
    let sandbox = Sandbox::new();
    // A shape that no other test has.
    sandbox.write("lab.yml", "name: shape\nnodes: [{name: a, count: 2, memory: 200M}]\n");
    let ours = |sandbox: &Sandbox| -> Vec<String> {
        let listed: serde_json::Value = sandbox.json(&["image", "template", "list"]);
        let ours = listed.as_array().unwrap().iter().filter(|template| template["memory_mib"] == 200);
        ours.map(|template| template["key"].as_str().unwrap().to_owned()).collect()
    };
    for key in ours(&sandbox) {
        sandbox.good(&["image", "template", "rm", &key]);
    }
    for round in 0..3 {
        let mut build = sandbox.start(&["image", "template", "build"]);
        let moment = Duration::from_millis(random.random_range(50..12_000));
        std::thread::sleep(moment);
        println!("round {round}: killed after {moment:?}");
        build.kill().unwrap();
        build.wait().unwrap();
        until("the machine of a killed build ends", Duration::from_secs(10), || {
            machines(&sandbox.home().join("run/t-").display().to_string()).is_empty()
        });
        for key in ours(&sandbox) {
            println!("round {round}: it was ready");
            sandbox.good(&["image", "template", "rm", &key]);
        }
    }
    sandbox.good(&["image", "template", "build"]);
    assert_eq!(ours(&sandbox).len(), 1);
    // The host keys that take long were made with it, so that the forks need not wait for them.
    let spares = sandbox.home().join("spare-keys");
    let made: Vec<PathBuf> = std::fs::read_dir(&spares).unwrap().map(|entry| entry.unwrap().path()).collect();
    let made: Vec<PathBuf> = made.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    assert!(made.len() >= 2, "{made:?}");
    sandbox.good(&["up"]);
    assert_eq!(made.iter().filter(|path| !path.exists()).count(), 2, "each node takes one");
    assert_eq!(ours(&sandbox).len(), 1);
    assert_eq!(sandbox.good(&["exec", "a2", "--", "hostname"]), "a2\n");
    sandbox.good(&["destroy", "--force"]);
    sandbox.good(&["image", "template", "rm", &ours(&sandbox)[0]]);
    assert!(ours(&sandbox).is_empty());
}

/// kill -9 of `up`, the supervisor or a machine while nodes are forked: the next `up` starts them all, each with its own identity, on one
/// intact disk.
#[test]
fn forks_whose_start_is_killed_come_up_as_themselves() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(17));
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: cut\nnodes: [{name: 'cut{index}', count: 3, memory: 256M}]\n");
    // With a template, which may be made now, a start is a fork.
    sandbox.good(&["up"]);
    sandbox.good(&["destroy", "--force"]);
    let names = ["cut1", "cut2", "cut3"];
    for round in 0..8 {
        let (moment, victim) = (Duration::from_millis(random.random_range(5..1200)), random.random_range(0..3));
        let mut up = sandbox.start(&["up"]);
        std::thread::sleep(moment);
        println!("round {round}: after {moment:?} kill {}", ["labctl up", "the supervisor", "a QEMU"][victim]);
        match (victim, sandbox.machines().last()) {
            (1, _) => kill_supervisor(&sandbox),
            (2, Some(pid)) => kill(*pid),
            _ => up.kill().unwrap(),
        }
        up.wait().unwrap();
        sandbox.good(&["up"]);
        assert_eq!(sandbox.machines().len(), names.len(), "round {round}: a machine too many or too few");
        let record = std::fs::read_to_string(sandbox.home().join("labs/cut/lab.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let script = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; hostname -I | cut -d' ' -f1; cat /proc/sys/kernel/random/uuid";
        let mut random_ids = BTreeSet::new();
        for (name, node) in names.iter().zip(record["lab"]["nodes"].as_array().unwrap()) {
            let said = sandbox.good(&["exec", name, "--", "sh", "-c", script]);
            let lines: Vec<&str> = said.lines().map(str::trim).collect();
            let kept = &record["nodes"][name];
            let key = kept["host_key"]["public"].as_str().unwrap().trim();
            let wanted = [name, kept["machine_id"].as_str().unwrap(), key, node["address"].as_str().unwrap()];
            assert_eq!(lines[..4], wanted, "round {round}");
            assert!(random_ids.insert(lines[4].to_owned()), "round {round}: {name} draws what another drew: {said}");
            let folder = sandbox.home().join("labs/cut/nodes").join(name);
            assert!(!folder.join("unborn").exists(), "round {round}: {name}");
            let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let disks: Vec<String> = files.filter(|file| file.starts_with("disk-")).collect();
            assert_eq!(disks.len(), 1, "round {round}: {name} has {disks:?}");
        }
        let reached = sandbox.run(&["exec", "cut1", "--", "ping", "-c3", "-W5", "cut3"]);
        assert!(reached.status.success(), "round {round}: {reached:?}");
        sandbox.good(&["destroy", "--force"]);
        assert_eq!(sandbox.machines(), Vec::<i32>::new(), "round {round}: an orphan");
        assert!(!sandbox.home().join("labs/cut").exists(), "round {round}");
    }
}
